# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One `gitlab-ee` package: its tree, its hooks, and the .deb made by dpkg-deb."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from .source import APPLICATION, FILES, HERE, HOOKS, BuildError, Release, digest, format_series

NAME = "gitlab-ee"
_RAILS = Path("opt/gitlab/embedded/service/gitlab-rails")
_POSTGRESQL = "/usr/lib/postgresql/15/bin"

# All releases bring the same one, and must accept it. A host can have another major beside it.
BUNDLED_POSTGRESQL = 15

# Where the package has the programs of a major, of which those that are used are links in embedded/bin.
_PROGRAMS = f"/opt/gitlab/embedded/postgresql/{BUNDLED_POSTGRESQL}/bin"

# What the real package brings, and where the host's Debian has it.
_EMBEDDED: t.Mapping[str, tuple[str, ...]] = {
    _PROGRAMS: (
        "postgres",
        "initdb",
        "pg_ctl",
        "psql",
        "pg_dump",
        "pg_dumpall",
        "pg_restore",
        "pg_isready",
        "createdb",
        "dropdb",
    ),
    "/usr/bin": (
        "sv",
        "runsv",
        "runsvdir",
        "chpst",
        "svlogd",
        "redis-server",
        "redis-cli",
        "ruby",
        "rake",
        "puma",
        "curl",
        "git",
        "rsync",
    ),
}


def deb_version(version: str) -> str:
    return f"{version}-ee.0"


def source_digest(version: str) -> str:
    return digest(deb_version(version), FILES, HOOKS, HERE / "deb.py", HERE / "source.py", APPLICATION)


def control_text(version: str) -> str:
    """No Depends: the hosts' base has every program that the package links to."""
    return (
        f"Package: {NAME}\n"
        f"Version: {deb_version(version)}\n"
        "Architecture: all\n"
        "Section: misc\n"
        "Priority: extra\n"
        "Maintainer: The gitlab_fleet.upgrade authors <none@example.com>\n"
        "Conflicts: gitlab-ce\n"
        "Replaces: gitlab-ce\n"
        "Description: mini GitLab, a test double of the Linux package\n"
        " Real services and real hooks around a small application. Not GitLab.\n"
    )


def hook_text(template: str, release: Release) -> str:
    """A maintainer script with the release's facts filled in."""
    values = {
        "VERSION": release.version,
        "MIN_VERSION": format_series(release.oldest_predecessor),
        "PG_MIN": str(min(release.oldest_postgresql, BUNDLED_POSTGRESQL)),
        "CHECKS_EVERY_JUMP": _yes(release.checks_every_jump),
        "CHECKS_LEGACY_STORAGE": _yes(release.checks_legacy_storage),
        "MAY_SKIP_CONFIG_CHECK": _yes(release.may_skip_config_check),
    }
    for name, value in values.items():
        template = template.replace(f"%{name}%", value)
    return template


def build(version: str, cache: Path) -> Path:
    """The package of a version, made unless the cache has it.

    :raises BuildError: the application cannot be laid out, or dpkg-deb refuses the tree.
    """
    target = cache / f"{NAME}_{deb_version(version)}_{source_digest(version)}.deb"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        tree, made = Path(scratch) / "tree", Path(scratch) / "made.deb"
        _lay_out(version, tree)
        # Speed before size: the repository never leaves this machine.
        _call(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(made)])
        made.replace(target)
    return target


def _lay_out(version: str, tree: Path) -> None:
    release = Release(version)
    shutil.copytree(FILES, tree, ignore=shutil.ignore_patterns("__pycache__"))
    _call([sys.executable, str(APPLICATION / "bin/assemble"), version, str(tree / _RAILS)])
    for folder in ("log", "tmp"):
        shutil.rmtree(tree / _RAILS / folder, ignore_errors=True)
    (tree / _RAILS / "log").symlink_to("/var/log/gitlab/gitlab-rails")
    programs = tree / _PROGRAMS.lstrip("/")
    programs.parent.mkdir(parents=True)
    programs.symlink_to(_POSTGRESQL)
    for folder, names in _EMBEDDED.items():
        for program in names:
            (tree / "opt/gitlab/embedded/bin" / program).symlink_to(f"{folder}/{program}")
    (tree / "opt/gitlab/embedded/sbin").mkdir()
    (tree / "opt/gitlab/embedded/sbin/nginx").symlink_to("/usr/sbin/nginx")
    (tree / "opt/gitlab/version-manifest.txt").write_text(
        f"{NAME} {version}\n\nComponent            Installed Version\ngitlab-rails         v{version}-ee\n"
    )
    manifest = {
        "manifest_format": 2,
        "software": {"gitlab-rails": {"described_version": f"v{version}-ee"}},
        "build_version": version,
    }
    (tree / "opt/gitlab/version-manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    control = tree / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(control_text(version))
    for hook in sorted(HOOKS.iterdir()):
        (control / hook.name).write_text(hook_text(hook.read_text(), release))
        (control / hook.name).chmod(0o755)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _call(argv: t.Sequence[str]) -> None:
    try:
        answer = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"{argv[0]} is not on this machine: install Debian's dpkg package") from error
    if answer.returncode != 0:
        raise BuildError(f"{argv[0]} failed:\n{answer.stdout.strip()}")
