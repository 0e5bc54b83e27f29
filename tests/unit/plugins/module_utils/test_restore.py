# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest
from rollbacks import BEGUN, DUMP, FINISHED, MANIFEST

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _direct_connection, _restore, _restore_place
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._restore import Choice, RestoreJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion


def restore(versions: list[str] | None, database_only: bool = False) -> RestoreJob:
    """Return the restore into a database that has these schema migrations; None is an empty database."""
    answer = {} if versions is None else {"versions": versions}
    session = SimpleNamespace(name=DUMP.name, dbname=DUMP.dbname, read=lambda parts: answer)
    instance: t.Any = SimpleNamespace(
        installation=SimpleNamespace(install_type=OMNIBUS, backup=lambda *arguments: ["gitlab-backup"]),
        sessions=lambda: [session],
        version_text=MANIFEST.gitlab.version,
        version=GitLabVersion.parse(MANIFEST.gitlab.version),
    )
    jobs: t.Any = None
    return RestoreJob(instance, jobs, {}, Choice(MANIFEST, database_only, False, True), False)


@pytest.mark.parametrize(
    ("record", "versions", "needed"),
    [
        (FINISHED, ["20210611"], False),
        # It was emptied after that.
        (FINISHED, None, True),
        (FINISHED, [], True),
        (BEGUN, ["20210611"], True),
        (None, ["20210611"], True),
    ],
)
def test_a_restore_is_done_only_as_long_as_it_is_there(
    monkeypatch: pytest.MonkeyPatch, record: dict[str, t.Any] | None, versions: list[str] | None, needed: bool
) -> None:
    monkeypatch.setattr(_restore, "read_record", lambda name: record)
    if needed:
        # The next thing that it looks at.
        with pytest.raises(GitLabError, match=r"x_gitlab_backup[.]tar is not there any more"):
            restore(versions).prepare()
    else:
        assert restore(versions).prepare() == (False, None)


def test_the_databases_alone_do_not_follow_half_a_restore_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_restore, "read_record", lambda name: BEGUN)
    monkeypatch.setattr(_restore, "changed_archives", lambda manifest: [])
    monkeypatch.setattr(_restore_place, "look", lambda *arguments: None)
    monkeypatch.setattr(_restore_place, "problem", lambda *arguments: None)
    monkeypatch.setattr(_direct_connection, "read_connections", lambda *arguments: ())
    with pytest.raises(GitLabError, match="repositories and files can be half restored"):
        restore(None, database_only=True).prepare()
