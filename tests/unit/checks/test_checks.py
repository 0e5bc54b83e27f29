# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each check must find the fault it is there for, and leave a good collection alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.tests.checks import files, links, modules, roles, tarball

LICENCE = "# SPDX-License-Identifier: GPL-3.0-or-later\n"
GOOD = {
    "meta/runtime.yml": "action_groups: {gitlab: [bbm_status]}\n",
    "plugins/modules/bbm_status.py": (
        "DOCUMENTATION = r'''\nmodule: bbm_status\n"
        "extends_documentation_fragment: [gitlab_fleet.upgrade._attributes.actiongroup_gitlab]\n'''\n"
    ),
    "roles/backup/defaults/main.yml": "backup_dir: /var/backups\nbackup_skip: []\n",
    "roles/backup/tasks/main.yml": "- ansible.builtin.include_role: {name: gitlab_fleet.upgrade.backup, tasks_from: verify}\n",
    "roles/backup/tasks/verify.yml": "[]\n",
    "roles/backup/meta/argument_specs.yml": (
        "argument_specs:\n"
        "  main:\n    options:\n      backup_dir: {default: /var/backups}\n      backup_skip: {}\n"
        "      gitlab_upgrade_shared: {}\n"
        "  verify:\n    options:\n      backup_id: {required: true}\n"
    ),
    "playbooks/backup.yml": "- hosts: gitlab\n  roles: [gitlab_fleet.upgrade.backup]\n",
    "REUSE.toml": LICENCE + '[[annotations]]\npath = ["**.json"]\n',
}


def collection(root: Path, changes: dict[str, str | None]) -> Path:
    """Write the good collection with some files changed, or left out."""
    for name, content in {**GOOD, **changes}.items():
        if content is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
    return root


def test_a_good_collection_passes(tmp_path: Path) -> None:
    root = collection(tmp_path, {})
    assert [*modules.check(root), *roles.check(root)] == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"meta/runtime.yml": "action_groups: {gitlab: []}"}, "missing in action group gitlab", id="not grouped"
        ),
        pytest.param(
            {"plugins/modules/bbm_status.py": None}, "no plugins/modules/bbm_status.py", id="group names no module"
        ),
        pytest.param({"plugins/modules/bbm_status.py": "DOCUMENTATION = ''' {a: b} '''"}, "lacks", id="no fragment"),
        pytest.param(
            {"roles/backup/defaults/main.yml": "backup_dir: /var/backups\nbackup_skip: []\nbackup_new: 1\n"},
            "backup_new is not in meta/argument_specs.yml",
            id="default without option",
        ),
        pytest.param(
            {"roles/backup/defaults/main.yml": "backup_dir: /var/backups\n"},
            "backup_skip is neither required nor in defaults/main.yml",
            id="option without default",
        ),
        pytest.param(
            {"roles/backup/defaults/main.yml": "backup_dir: /tmp\nbackup_skip: []\n"},
            "the default of backup_dir differs",
            id="two defaults",
        ),
        pytest.param({"roles/backup/meta/argument_specs.yml": None}, "has no meta/argument_specs.yml", id="no spec"),
        pytest.param(
            {"roles/backup/tasks/main.yml": "- block: [{include_role: {name: backup, tasks_from: verify.yml}}]\n"},
            "has an extension",
            id="extension",
        ),
        pytest.param({"roles/backup/tasks/verify.yml": None}, "has no tasks/verify.yml", id="no such entry point"),
        pytest.param(
            {
                "roles/backup/tasks/restore.yml": "[]\n",
                "playbooks/backup.yml": "- tasks: [{ansible.builtin.import_role: {name: backup, tasks_from: restore}}]\n",
            },
            "entry point restore of role backup is not in its meta/argument_specs.yml",
            id="entry point without spec",
        ),
        *(
            pytest.param(
                {
                    "roles/backup/meta/argument_specs.yml": "argument_specs: {main: {options: {backup_yes: {type: bool, required: true}}}}\n",
                    "roles/backup/tasks/more.yml": f"- debug: {{}}\n  {condition}\n",
                },
                "more.yml:2: backup_yes decides without | bool",
                id=condition,
            )
            for condition in (
                "when: backup_yes",
                "when: x and not backup_yes",
                "name: \"{{ 'a' if backup_yes else 'b' }}\"",
            )
        ),
    ],
)
def test_a_fault_is_found(tmp_path: Path, changes: dict[str, str | None], problem: str) -> None:
    root = collection(tmp_path, changes)
    assert any(problem in found for found in [*modules.check(root), *roles.check(root)])


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (LICENCE + "home: /home/git\nssh: /root/.ssh\nlib: /usr/work/x\n", 0),
        ("x\n" * files.HEADER_LINES + LICENCE, 1),
        (LICENCE + "path: /home/" + "someone/x\n", 1),
        (LICENCE + "path: /root/" + ".pyenv\n", 1),
        (LICENCE + "index: https://pypi" + ".org/simple and deb.debian" + ".org\n", 1),
    ],
)
def test_texts(text: str, problems: int) -> None:
    assert len(list(files.check_text("file.yml", text, licence_elsewhere=False))) == problems


def test_files_without_licence_are_found_unless_reuse_covers_them(tmp_path: Path) -> None:
    root = collection(tmp_path, dict.fromkeys(GOOD, None) | {"REUSE.toml": GOOD["REUSE.toml"]})
    (root / "data").mkdir()
    (root / "data" / "covered.json").write_text("{}\n")
    (root / "bare.py").write_text("x = 1\n")
    (root / "empty.py").write_text("")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    assert [problem.partition(":")[0] for problem in files.check(root)] == ["bare.py"]


@pytest.mark.parametrize(
    "name",
    [
        "tests/unit/conftest.py",
        ".ci/run",
        "Makefile",
        "molecule/default/molecule.yml",
        "docs/design.md.orig",
        "plugins/modules/__pycache__/bbm_status.cpython-311.pyc",
        "roles/backup/tests/test.yml",
        "changelogs/fragments/1.yml",
    ],
)
def test_what_users_do_not_need_is_found_in_the_tarball(name: str) -> None:
    assert [problem.partition(" ")[0] for problem in tarball.check([*tarball.REQUIRED, name])] == [name]


def test_a_tarball_with_what_users_need_passes() -> None:
    names = ["plugins/modules/bbm_status.py", "roles/backup/tasks/main.yml", "playbooks/status.yml", "docs/status.md"]
    assert list(tarball.check([*tarball.REQUIRED, *names])) == []


def test_a_tarball_without_licence_is_found() -> None:
    assert list(tarball.check(tarball.REQUIRED - {"LICENSE"})) == ["LICENSE is not in the tarball"]


@pytest.mark.parametrize(
    ("link", "problems"),
    [
        ("other.md", []),
        ("../README.md#use-it-on-your-own-gitlab", []),
        ("#here", []),
        ("examples", []),
        ("https://example.com/none", []),
        ("none.md", ["docs/page.md: there is no none.md"]),
        ("README.md", ["docs/page.md: there is no README.md"]),
        ("#there", ["docs/page.md: docs/page.md has no heading there"]),
        ("other.md#not-a-heading", ["docs/page.md: docs/other.md has no heading not-a-heading"]),
    ],
)
def test_links(link: str, problems: list[str]) -> None:
    pages = {
        "docs/page.md": f"# Here\n[x]({link}) and `[y](code.md)`\n",
        "docs/other.md": "# Other\n```sh\n# Not a heading\n```\n",
        "README.md": "## Use it on your own GitLab\n",
    }
    assert list(links.broken(pages, [*pages, "docs/examples/a.yml"])) == problems


def test_only_the_readme_of_a_tarball_may_lead_into_the_repository() -> None:
    pages = dict.fromkeys(["README.md", "docs/status.md"], "[design](/design.md)\n")
    assert list(tarball.check_links(pages, pages)) == ["docs/status.md: there is no /design.md"]
