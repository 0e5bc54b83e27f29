# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is no way back is refused, with every reason, and nothing is changed by that."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from failed_upgrade import ARCHIVE, BACKUP, NEW, OLD, Rollback, failed_upgrades
from instances import Instances

HOST = "stuck"
SECRETS = "/etc/gitlab/gitlab-secrets.json"
MANIFEST = f"/var/lib/gitlab_fleet_upgrade/backups/{BACKUP}/manifest.json"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with failed_upgrades("refuse", [HOST]) as fleet:
        yield fleet


@pytest.fixture
def unchanged(fleet: Instances) -> t.Iterator[None]:
    """Compares every row, process and file before and after the test."""
    before = fleet.sh(HOST, "python3 /root/fingerprint.py")
    yield
    assert fleet.sh(HOST, "python3 /root/fingerprint.py") == before


def check(fleet: Instances, **options: t.Any) -> dict[str, t.Any]:
    digest = fleet.sh(HOST, f"sha256sum {SECRETS} | cut -d' ' -f1")
    options = {"backup": BACKUP, "node": HOST, "secrets": {HOST: digest}, **options}
    return fleet.run(HOST, "rollback_check", **options)


def test_the_way_back_is_open_and_says_what_it_costs(fleet: Instances, unchanged: None) -> None:
    result = check(fleet)
    assert (result["state"], result["possible"], result["reasons"]) == ("roll_back", True, [])
    assert (result["version"], result["backup"]["gitlab"]["version"]) == (NEW, OLD)
    assert result["steps"][0] == f"install GitLab {OLD} in the place of {NEW}"
    (schema,) = result["schemas"]
    assert schema["rows"] > 20
    rows = {one["table"]: one["now"] - (one["backup"] or 0) for one in result["loss"]["main"]}
    # Another project and its group; what the failed migrations wrote is no loss for anybody.
    assert rows["public.projects"] == rows["public.namespaces"] == 1
    assert rows["public.schema_migrations"] > 0
    assert any(text.startswith("main projects: 1 rows more") for text in result["loss_text"])
    assert not any("schema_migrations" in text for text in result["loss_text"])


def test_check_mode_of_the_playbook_needs_no_acceptance_and_changes_nothing(fleet: Instances, unchanged: None) -> None:
    done = Rollback(fleet, HOST).run("--check", "--diff", rollback_restore_accept_loss_since_backup=False)
    assert "Would roll back to before: install GitLab 14.0.12-ee in the place of 14.2.7-ee" in done.stdout, done.stdout
    assert "projects: 1 rows more" in done.stdout


# With -e name=value every value is text.
@pytest.mark.parametrize("no", [False, "false", "no"])
def test_without_acceptance_nothing_is_done(fleet: Instances, unchanged: None, no: bool | str) -> None:
    done = Rollback(fleet, HOST).run(rollback_restore_accept_loss_since_backup=no)
    assert done.returncode != 0
    assert "set rollback_restore_accept_loss_since_backup: true" in done.stdout
    assert "projects: 1 rows more" in done.stdout


def test_a_whole_fleet_is_not_rolled_back_by_mistake(fleet: Instances, unchanged: None, tmp_path: Path) -> None:
    group = tmp_path / "group.ini"
    group.write_text(f"[gitlab]\n{HOST}\n")
    variables = '{"rollback_restore_backup": "before", "rollback_restore_accept_loss_since_backup": true}'
    stray = tmp_path / "group_vars" / "gitlab.yml"
    for limit, value in (([], None), (["--limit", "all"], None), (["--limit", "gitlab:!other"], None), ([], "other")):
        if value:
            # It does not choose the hosts there.
            stray.parent.mkdir()
            stray.write_text(f"gitlab_upgrade_hosts: {value}\n")
        done = fleet.play("gitlab_fleet.upgrade.rollback", "-i", str(group), *limit, "-e", variables)
        assert done.returncode != 0
        assert "Run it with --limit HOST, or with -e gitlab_upgrade_hosts=HOST" in done.stdout, done.stdout


def test_an_archive_that_was_changed_is_refused(fleet: Instances, unchanged: None) -> None:
    fleet.sh(HOST, f"cp --preserve {ARCHIVE} /root/archive; printf x | dd of={ARCHIVE} bs=1 seek=5000 conv=notrunc")
    try:
        result = check(fleet)
        refused = fleet.run_each(
            HOST,
            "database_clean",
            [{"backup": BACKUP, "accept_loss_of_all_data": True}],
        )[0]
    finally:
        fleet.sh(HOST, f"cp --preserve /root/archive {ARCHIVE}; rm /root/archive")
    assert not result["possible"]
    assert [reason["check"] for reason in result["reasons"]] == ["backup"]
    assert "has the sha256" in result["reasons"][0]["text"]
    assert refused["failed"]
    assert "has the sha256" in refused["msg"]


@contextlib.contextmanager
def changed(fleet: Instances, change: str, undo: str) -> t.Iterator[None]:
    fleet.sh(HOST, change)
    try:
        yield
    finally:
        fleet.sh(HOST, undo)


EMPTY: dict[str, t.Any] = {"backup": BACKUP, "accept_loss_of_all_data": True}


@pytest.mark.parametrize(
    ("change", "undo", "said"),
    [
        pytest.param(
            f"mkdir /mnt/old && mv {ARCHIVE} /mnt/old/ && sed -i 's#{ARCHIVE}#/mnt/old/{Path(ARCHIVE).name}#' {MANIFEST}",
            f"mv /mnt/old/* {ARCHIVE}; rmdir /mnt/old; sed -i 's#/mnt/old/{Path(ARCHIVE).name}#{ARCHIVE}#' {MANIFEST}",
            "there is no such file",
            id="verified elsewhere",
        ),
        pytest.param(
            f"chown root {ARCHIVE}",
            f"chown git {ARCHIVE}",
            "git, as whom GitLab restores, cannot read",
            id="not readable",
        ),
    ],
)
def test_an_archive_that_gitlab_would_not_find_or_read_is_refused_before_anything_is_dropped(
    fleet: Instances, unchanged: None, change: str, undo: str, said: str
) -> None:
    with changed(fleet, change, undo):
        result = check(fleet)
        refused = fleet.run(HOST, "database_clean", **EMPTY)
        planned = fleet.run(HOST, "database_clean", check=True, **EMPTY)
    assert [reason["check"] for reason in result["reasons"]] == ["place"]
    assert said in result["reasons"][0]["text"]
    assert refused["failed"]
    assert said in refused["msg"]
    assert not planned["failed"]
    assert any(said in note for note in planned["notes"])


def test_databases_that_the_backup_does_not_have_are_not_emptied(fleet: Instances, unchanged: None) -> None:
    with changed(
        fleet,
        f'cp --preserve {MANIFEST} /root/manifest; sed -i \'s/"gitlabhq_production"/"other"/\' {MANIFEST}',
        f"cp --preserve /root/manifest {MANIFEST}; rm /root/manifest",
    ):
        refused = fleet.run(HOST, "database_clean", **EMPTY)
        unnamed = fleet.run(HOST, "database_clean", accept_loss_of_all_data=True)
    assert refused["failed"]
    assert "has no dump of gitlabhq_production, whose data would be lost for good" in refused["msg"]
    assert "missing required arguments: backup" in unnamed["msg"]


def test_pgbouncer_is_no_way_for_a_restore(fleet: Instances, unchanged: None) -> None:
    yml = "/var/opt/gitlab/gitlab-rails/etc/database.yml"
    with changed(
        fleet,
        f"cp --preserve {yml} /root/yml; sed -i 's/port:.*/port: 6432/' {yml}; grep -q 6432 {yml}",
        f"cp --preserve /root/yml {yml}; rm /root/yml",
    ):
        result = check(fleet)
        direct = check(fleet, database_host="127.0.0.1", database_port=5432)
    assert [reason["check"] for reason in result["reasons"]] == ["connection"]
    assert "database_host" in result["reasons"][0]["remedy"]
    assert direct["reasons"] == []


def test_the_databases_alone_are_refused_where_gitlab_would_restore_the_repositories_too(
    fleet: Instances, unchanged: None
) -> None:
    result = check(fleet, database_only=True, count_rows=False)
    assert [reason["check"] for reason in result["reasons"]] == ["parts"]
    assert f"GitLab {OLD} would restore them whatever it is told" in result["reasons"][0]["text"]


def test_secrets_that_are_not_those_of_the_backup_are_refused(fleet: Instances, unchanged: None) -> None:
    kept = check(fleet, configuration="keep", secrets={HOST: "0" * 64})
    other = check(fleet, secrets={HOST: "0" * 64, "sidekiq-1": "1" * 64, "sidekiq-2": ""})
    assert [reason["check"] for reason in kept["reasons"]] == ["secrets"]
    # Those of the deploy node come back with the configuration, those of other nodes do not.
    texts = [reason["text"] for reason in other["reasons"]]
    assert len(texts) == 2
    assert "sidekiq-1 is another one" in texts[0]
    assert "sidekiq-2 is not there" in texts[1]


def test_another_edition_and_its_package_are_told_at_once(fleet: Instances, unchanged: None) -> None:
    edit = 's/14.0.12-ee/14.0.12/; s/"edition": "ee"/"edition": "ce"/; s/"name": "gitlab-ee"/"name": "gitlab-ce"/'
    fleet.sh(HOST, f"cp --preserve {MANIFEST} /root/manifest; sed -i '{edit}' {MANIFEST}")
    try:
        result = check(fleet)
    finally:
        fleet.sh(HOST, f"cp --preserve /root/manifest {MANIFEST}; rm /root/manifest")
    assert [reason["check"] for reason in result["reasons"]] == ["edition", "package"]


def test_a_backup_that_nobody_knows_is_an_error_that_names_the_known_ones(fleet: Instances, unchanged: None) -> None:
    result = check(fleet, backup="other")
    assert result["failed"]
    assert "The backup other has no manifest" in result["msg"]
    assert BACKUP in result["remedy"]


def test_a_restore_into_the_newer_version_or_into_full_databases_is_refused(fleet: Instances, unchanged: None) -> None:
    result = fleet.run(HOST, "gitlab_restore", backup=BACKUP)
    assert result["failed"]
    assert f"GitLab {NEW} is installed; the backup restores only into {OLD}" in result["msg"]


def test_databases_are_not_emptied_while_services_are_connected(fleet: Instances) -> None:
    connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ 'sidekiq'"
    fleet.sh(HOST, "gitlab-ctl start sidekiq")
    fleet.sh(
        HOST,
        f'for n in $(seq 60); do [ "$(gitlab-psql -XAt -c "{connected}")" = 0 ] || exit 0; sleep 0.5; done; exit 1',
    )
    try:
        unaccepted, refused = fleet.run_each(
            HOST,
            "database_clean",
            [
                {"backup": BACKUP, "accept_loss_of_all_data": False},
                {"backup": BACKUP, "accept_loss_of_all_data": True},
            ],
        )
    finally:
        fleet.sh(HOST, "gitlab-ctl stop sidekiq")
    assert "accept_loss_of_all_data: true" in unaccepted["msg"]
    assert "sessions of GitLab's services are connected" in refused["msg"]
    # And the code that is still installed would not take the backup back.
    assert f"is of GitLab {OLD}, and {NEW} is installed" in refused["msg"]
    assert int(fleet.sql(HOST, "SELECT count(*) FROM projects")) == 6
