# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""One run of C(gitlab-backup restore), proved by the rows that are in the databases afterwards."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import (
    _database_clean,
    _direct_connection,
    _restore_log,
    _restore_parts,
    _restore_place,
    _rollback_loss,
    _rolling_back,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import refusals, same_version
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import OMNIBUS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import RUNNING, Job, tail
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._one_job import OneJob
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback import is_finished
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._rollback_reading import (
    changed_archives,
    free_bytes,
    read_schema,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import (
    STATE_DIRECTORY,
    read_record,
    write_record,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._time import in_words

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import Manifest
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._instance import Instance
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Jobs
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._long_work import Waiting

LOG_TAIL_BYTES = 8000
# With less than this free a restore on a full disk has been seen to stand still for ever (gitlab#591737).
FULL_BYTES = 16 * 1024 * 1024
STALL_SECONDS = 300

# GitLab's own lock, which the first versions that had it (15.x) believe without a look at the process.
PID_FILE = "tmp/backup_restore.pid"


def command(installation: Installation, choice: Choice) -> list[str]:
    """Return the command. It answers GitLab's questions beforehand; their reasons are looked for in its output."""
    settings = {
        "BACKUP": choice.manifest.id,
        "GITLAB_ASSUME_YES": "1",
        **_restore_parts.settings(choice.database_only),
        **choice.direct.settings(),
    }
    return installation.backup("restore", settings)


def is_stalled(full: bool, quiet_seconds: float) -> bool:
    """Return whether a running restore stands still because there is no room. A large index takes hours in silence."""
    return full and quiet_seconds >= STALL_SECONDS


def remove_stale_lock(installation: Installation) -> str | None:
    """Remove GitLab's lock when its process is gone, as after a restart in the middle. Return its path then."""
    path = f"{installation.rails_root}/{PID_FILE}"
    try:
        with open(path, encoding="utf-8") as file:
            pid = file.read().strip()
    except OSError:
        return None
    if pid.isdigit() and os.path.exists(f"/proc/{pid}"):
        return None
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return path


class Choice(t.NamedTuple):
    """What is asked for. Without ``start`` only a restore that runs already is taken up."""

    manifest: Manifest
    database_only: bool
    accept_schema_errors: bool
    start: bool
    # Tables whose rows may be others than in the backup.
    accept_row_differences: tuple[str, ...] = ()
    direct: _direct_connection.Direct = _direct_connection.AS_CONFIGURED


class RestoreJob(OneJob):
    """The restore of one backup. After the last step C(result) has what it did."""

    name = "gitlab_restore"
    excludes = ("gitlab_package", "reconfigure", "db_migrate", "gitlab_backup")

    def __init__(
        self, instance: Instance, jobs: Jobs, memory: dict[str, t.Any], choice: Choice, check_mode: bool
    ) -> None:
        installation = instance.installation
        if installation.install_type != OMNIBUS:
            raise GitLabError(
                "A self-compiled GitLab has no gitlab-backup.",
                "Restore with bundle exec rake gitlab:backup:restore RAILS_ENV=production.",
            )
        self._instance = instance
        self._manifest = choice.manifest
        self._choice = choice
        argv = command(installation, choice)
        super().__init__(jobs, memory, argv, None, check_mode)
        self.result: dict[str, t.Any] = {}

    def advance(self) -> Waiting | None:
        """See :class:`_long_work.Work`."""
        waiting = super().advance()
        if waiting is not None and waiting.job is not None and waiting.job.name == self.name:
            self._watch(waiting.job)
        return waiting

    def prepare(self) -> tuple[bool, t.Any]:
        if not self._choice.start or self._is_finished():
            return False, None
        refused = refusals(self._manifest) or changed_archives(self._manifest)
        if refused:
            raise GitLabError(" ".join(refused), "Use another backup.", reasons=refused)
        version = self._instance.version_text
        if not same_version(version, self._manifest.gitlab.version):
            if self._check_mode:
                return True, None
            raise GitLabError(
                f"GitLab {version} is installed; the backup restores only into {self._manifest.gitlab.version}.",
                "Install that version with gitlab_package, or use the role rollback_restore, which does.",
            )
        self._check_way()
        if not self._check_mode:
            self._check_databases()
            removed = remove_stale_lock(self._instance.installation)
            if removed:
                self.notes.append(f"The lock of a restore whose process is gone was removed: {removed}.")
            write_record(
                _rolling_back.RECORD, _rolling_back.restore(read_record(_rolling_back.RECORD), *self._recorded)
            )
        return True, None

    def _is_finished(self) -> bool:
        """Return whether this was restored to its end, and is still there: databases can have been emptied since."""
        return is_finished(read_record(_rolling_back.RECORD), self._manifest, self._choice.database_only) and all(
            read_schema(session, self._manifest, ()).rows for session in self._instance.sessions()
        )

    def _check_way(self) -> None:
        """Check that GitLab will read the archive that was verified, and as much of it as is asked for, by a way that can carry it."""
        installation = self._instance.installation
        place = _restore_place.look(self._instance, self._manifest)
        connections = _direct_connection.read_connections(installation)
        for problem in (
            _restore_place.problem(place, self._manifest.archive.path),
            _restore_parts.problem(self._manifest, self._choice.database_only),
            _rolling_back.half_restored(read_record(_rolling_back.RECORD), self._choice.database_only),
            _direct_connection.problem(
                self._choice.direct, self._instance.version, connections, _direct_connection.RESTORE
            ),
        ):
            if problem:
                raise GitLabError(*problem)

    @property
    def _recorded(self) -> tuple[str, str, bool]:
        return self._manifest.id, self._manifest.archive.sha256, self._choice.database_only

    def _check_databases(self) -> None:
        roles = {database.name: database.username for database in self._instance.topology.databases}
        for session in self._instance.sessions():
            contents = _database_clean.read(session, roles[session.name])
            reasons = _database_clean.refusals(session.name, contents)
            if reasons:
                raise GitLabError(
                    " ".join(reasons), "Stop puma and sidekiq on every node of the instance, then run this again."
                )
            if not contents.empty:
                raise GitLabError(
                    f"The database {session.name} is not empty ({sum(contents.counts().values())} objects). What the backup does not"
                    " have would stay in it, and the next upgrade would fail at it.",
                    f"Run gitlab_fleet.upgrade.database_clean with backup: {self._manifest.id} first.",
                    objects=contents.counts(),
                )

    def counts(self, job: Job) -> bool:
        return job.rc == 0 and job.argv == tuple(self._argv) and not self._is_finished()

    def conclude(self, job: Job | None, note: t.Any) -> None:
        done = self._is_finished()
        log = _restore_log.read_files(job.log, job.errors) if job else _restore_log.read([])
        self.result = {
            "changed": job is not None or (self._check_mode and self._choice.start and not done),
            "restored": done,
            "backup": self._manifest.id,
            "parts": [{"name": part.label, "outcome": part.outcome} for part in log.parts],
            "schema_errors": list(log.schema_errors),
            "failures": list(log.failures),
            "seconds": job.seconds if job else 0.0,
            "log": job and job.log,
            "log_tail": tail(job.log, LOG_TAIL_BYTES) if job else "",
            "notes": self.notes,
            "commands": [self._argv] if job or (self._choice.start and not done) else [],
        }
        if self._check_mode or (job is None and (done or not self._choice.start)):
            return
        if job is None:
            raise GitLabError(
                "Another run took the result of this restore, and did not find it good.",
                "Run this again.",
                **self.result,
            )
        self._judge(job, log)
        write_record(
            _rolling_back.RECORD, _rolling_back.finish(read_record(_rolling_back.RECORD), *self._recorded, time.time())
        )
        self.result["restored"] = True

    def _judge(self, job: Job, log: _restore_log.Log) -> None:
        where = f"The whole output: {job.log}, {job.errors}."
        again = "Run database_clean and this again (the role rollback_restore does both); the archive is unharmed."
        if job.rc != 0 or not log.finished:
            ending = f"ended with exit status {job.rc}" if job.rc is not None else "disappeared (killed, or a restart)"
            at = f" while restoring {log.current}" if log.current else ""
            said = " ".join(log.failures[-5:] or log.schema_errors[-5:])
            raise GitLabError(f"The restore {ending}{at}. {said}{self._room()}", f"{again} {where}", **self.result)
        wrong = self._wrong_rows(log.removed_snippets)
        if wrong:
            raise GitLabError(
                f"The restore ended, yet the databases are not as in the backup: {'; '.join(wrong[:10])}"
                f"{f' and {len(wrong) - 10} more' if len(wrong) > 10 else ''}. {' '.join(log.schema_errors[:5])}{self._room()}",
                f"{again} {where}",
                wrong_rows=wrong,
                **self.result,
            )
        lacking = log.not_done((part.name for part in self._manifest.parts), self._choice.database_only)
        if lacking:
            raise GitLabError(
                f"The restore ended, and its output does not tell that every part of the backup was restored: {'; '.join(lacking)}."
                f"{self._room()}",
                f"{again} {where}",
                **self.result,
            )
        unwanted = log.files() if self._choice.database_only else []
        if unwanted:
            raise GitLabError(
                f"The databases alone were to be restored, and GitLab has restored files too: {', '.join(unwanted)}. What was pushed or"
                " uploaded since the backup is lost.",
                f"Restore everything then, so that files and databases fit each other: run this again without database_only. {where}",
                **self.result,
            )
        if log.failures:
            raise GitLabError(
                f"The restore ended, and not everything in it went well: {' '.join(log.failures[:5])}{self._room()}",
                f"{again} {where}",
                **self.result,
            )
        if log.schema_errors and not self._choice.accept_schema_errors:
            raise GitLabError(
                f"All rows are there, but PostgreSQL refused {len(log.schema_errors)} statements of the schema, so that indexes,"
                f" constraints or columns may be missing: {' '.join(log.schema_errors[:5])}",
                f"If you know them to be harmless, set accept_schema_errors: true. {again} {where}",
                **self.result,
            )

    def _wrong_rows(self, removed_snippets: int) -> list[str]:
        wrong = []
        dumps = {dump.dbname: dump for dump in self._manifest.databases}
        for session in self._instance.sessions():
            dump = dumps.get(session.dbname)
            if dump is None:
                continue
            now = _rollback_loss.count(session, only=dump.rows)
            explained = _rollback_loss.gone_with_snippets(dump.rows, now, removed_snippets)
            for table, text in _rollback_loss.not_as_in_backup(dump.rows, now).items():
                if table in explained:
                    why = "the restore deleted snippets whose repositories did not come back"
                    self.notes.append(f"{session.name}: {text}; {why}, see its output.")
                elif table in self._choice.accept_row_differences and table in now:
                    self.notes.append(f"{session.name}: {text}; that was accepted.")
                else:
                    wrong.append(f"{session.name}: {text}")
            schema = read_schema(session, self._manifest, ())
            if (schema.rows, schema.newest) != (dump.schema_migrations, dump.newest_schema_migration):
                wrong.append(
                    f"{session.name}: {schema.rows} schema migrations up to {schema.newest},"
                    f" {dump.schema_migrations} up to {dump.newest_schema_migration} in the backup"
                )
        return wrong

    def _places(self) -> list[str]:
        found = (os.path.dirname(self._manifest.archive.path), "/var/opt/gitlab/postgresql/data", STATE_DIRECTORY)
        return [path for path in found if os.path.isdir(path)]

    def _full(self) -> list[str]:
        return [path for path in self._places() if free_bytes(path) < FULL_BYTES]

    def _room(self) -> str:
        full = self._full()
        return f" There is no room left in {', '.join(full)}." if full else ""

    def _watch(self, job: Job) -> None:
        if job.status != RUNNING:
            return
        size = sum(os.path.getsize(path) for path in (job.log, job.errors) if os.path.exists(path))
        seen = self._memory.get("output")
        now = time.time()
        if not seen or seen["size"] != size:
            self._memory["output"] = {"size": size, "at": now}
            return
        quiet = now - seen["at"]
        full = self._full()
        if is_stalled(bool(full), quiet):
            raise GitLabError(
                f"There is no room left in {', '.join(full)}, and the restore has said nothing for {in_words(quiet)}: it stands still.",
                f"Make room there; it may go on by itself, and this task run again waits for it. If it does not, end it"
                f" (kill -- -$(cut -d' ' -f1 {job.directory}/supervisor)) and run the rollback again.",
                log=job.log,
            )
