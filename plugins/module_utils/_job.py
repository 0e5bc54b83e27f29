# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Named commands on the host that outlive the connection and the controller that started them.

One job is one directory, readable by root only:

``job.json``    what was started: argv, cwd, the starter's note, when
``run``         the supervisor, see :data:`SUPERVISOR`
``supervisor``, ``command``  their lines of C(/proc/PID/stat): process id and start time
``log``, ``errors``  what the command prints
``status``      its exit status and the time of its end, in seconds of the epoch
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import time
import typing as t

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._state import STATE_DIRECTORY

if t.TYPE_CHECKING:
    from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import Runner

ROOT = f"{STATE_DIRECTORY}/jobs"
ARCHIVE = "archive"
KEPT_ENDED_JOBS = 10
START_SECONDS = 15
TAIL_BYTES = 65536

RUNNING = "running"
ENDED = "ended"
LOST = "lost"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")

# Signals to the whole group end the command; the supervisor stays to write down how it ended.
SUPERVISOR = r"""#!/bin/sh
# Runs a command and leaves its output, its process and its exit status beside this file.
directory=${0%/*}
mask=$(umask)
umask 077
exec </dev/null >>"$directory/log" 2>>"$directory/errors"
trap : HUP INT TERM
cat "/proc/$$/stat" >"$directory/supervisor"
/bin/sh -c 'cat "/proc/$$/stat" >"$0/command"; umask "$1"; shift; exec "$@"' "$directory" "$mask" "$@"
printf '%s %s\n' "$?" "$(date +%s)" >"$directory/status.new"
mv "$directory/status.new" "$directory/status"
"""


@dataclasses.dataclass(frozen=True)
class Job:
    """One job as it stands.

    ``status`` is C(running), C(ended) (then ``rc`` is known) or C(lost): gone without an exit status, as after SIGKILL
    or a reboot. Times are seconds of the epoch.
    """

    name: str
    argv: tuple[str, ...]
    directory: str
    status: str
    started_at: float
    rc: int | None = None
    ended_at: float | None = None
    note: t.Any = None

    @property
    def command(self) -> str:
        """The command for people: a whole program among its arguments is left out."""
        return " ".join("..." if "\n" in word else word for word in self.argv)

    @property
    def log(self) -> str:
        """The path of what the command printed on stdout."""
        return f"{self.directory}/log"

    @property
    def errors(self) -> str:
        """The path of what the command printed on stderr."""
        return f"{self.directory}/errors"

    @property
    def seconds(self) -> float:
        """How long it ran, or has been running."""
        # The end is known to the second only.
        return max(0.0, round((self.ended_at or time.time()) - self.started_at, 1))

    def output(self) -> str:
        """The ends of both streams: GitLab prints errors on either."""
        return f"{tail(self.log)}\n{tail(self.errors)}"


def parse_stat(line: str) -> tuple[int, int] | None:
    """Return process id and start time (clock ticks since boot) from a line of C(/proc/PID/stat), see proc(5).

    The name of the program stands in parentheses and may hold blanks and parentheses itself. None for an incomplete line.
    """
    pid, bracket, rest = line.partition("(")
    fields = rest.rpartition(")")[2].split()
    if not bracket or len(fields) < 20:
        return None
    return int(pid), int(fields[19])


def parse_status(text: str) -> tuple[int, float] | None:
    """Return exit status and time of the end from the file C(status)."""
    words = text.split()
    return (int(words[0]), float(words[1])) if len(words) == 2 else None


def tail(path: str, limit: int = TAIL_BYTES) -> str:
    """Return at most the last ``limit`` bytes of a file, from the start of a line; nothing when there is no such file."""
    try:
        with open(path, "rb") as file:
            skipped = max(0, file.seek(0, os.SEEK_END) - limit)
            file.seek(skipped)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if skipped else text


def session_carrier(script: str, argv: t.Sequence[str]) -> list[str]:
    """Return the command that starts a job as a session of its own, without a controlling terminal."""
    return ["setsid", "--fork", "/bin/sh", script, *argv]


def systemd_carrier(
    script: str, argv: t.Sequence[str], unit: str, cwd: str | None, environment: t.Mapping[str, str]
) -> list[str]:
    """Return the command that starts a job as a transient unit.

    A unit inherits nothing from the caller. At shutdown systemd sends SIGTERM to all of its processes (KillMode
    control-group), which lets GitLab give its batch back.

    The service manager puts variables into a unit's arguments; C($$) is a C($) to it. The option of systemd-run against
    that (C(--expand-environment=no)) came with systemd 254 only:
    https://www.freedesktop.org/software/systemd/man/systemd.service.html#Command%20lines
    """
    command = [
        "systemd-run",
        f"--unit={unit}",
        "--description=gitlab_fleet.upgrade job",
        "--property=KillMode=control-group",
    ]
    if cwd:
        command.append(f"--property=WorkingDirectory={cwd}")
    command += [f"--setenv={name}={value}" for name, value in sorted(environment.items())]
    return [*command, *(word.replace("$", "$$") for word in ("/bin/sh", script, *argv))]


class NotOverError(GitLabError):
    """A job that should be over runs, or is not there any more."""


class Jobs:
    """The jobs of this host."""

    def __init__(self, runner: Runner, root: str = ROOT) -> None:
        self._runner = runner
        self._root = root

    def find(self, name: str) -> Job | None:
        """Return the job of that name, or None when there is none whose result has not been collected.

        :raises GitLabError: something runs under that name, and what it is cannot be read.
        """
        return self._load(name, self._directory(name))

    def start(self, name: str, argv: t.Sequence[str], cwd: str | None = None, note: t.Any = None) -> Job:
        """Start a job, or return the running one of the same name and argv. ``note`` is kept with it (JSON).

        :raises GitLabError: another command runs under that name; a result has not been collected; it cannot be started.
        """
        directory = self._directory(name)
        self._make_root()
        with self._lock(name):
            present = self.find(name)
            if present is not None:
                if present.status == RUNNING and present.argv == tuple(argv):
                    return present
                raise _occupied(present)
            try:
                if os.path.isdir(directory):
                    # A disk lost what was written there: nothing can be taken in from it.
                    self._put_aside(name, directory, time.time())
                self._lay_out(directory, {"argv": list(argv), "cwd": cwd, "note": note, "started_at": time.time()})
            except OSError as error:
                raise _not_writable(directory, error) from error
            self._launch(name, directory, argv, cwd)
            return self._started(name, directory)

    def collect(self, name: str) -> Job:
        """Move a job that is over to the archive and return it as it lies there. The next start begins anew.

        :raises NotOverError: there is no such job, or it runs. Another run was faster then: it has taken it in, or begun anew.
        """
        with self._lock(name):
            job = self.find(name)
            if job is None or job.status == RUNNING:
                raise NotOverError(f"The job {name} is not over.", None)
            target = self._put_aside(name, job.directory, job.started_at)
        return dataclasses.replace(job, directory=target)

    def _put_aside(self, name: str, directory: str, moment: float) -> str:
        """Move a directory to the archive, under a name with a time of its own, and return its path there."""
        archive = f"{self._root}/{ARCHIVE}"
        os.makedirs(archive, 0o700, exist_ok=True)
        target = f"{archive}/{name}.{time.strftime('%Y%m%dT%H%M%S', time.gmtime(moment))}.{time.time_ns()}"
        os.rename(directory, target)
        self._forget_oldest(archive, name)
        return target

    def _directory(self, name: str) -> str:
        if not _NAME.match(name) or name == ARCHIVE:
            raise GitLabError(f"{name!r} cannot be the name of a job.", None)
        return f"{self._root}/{name}"

    def _make_root(self) -> None:
        try:
            for directory in (os.path.dirname(self._root), self._root):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o700)
        except OSError as error:
            raise _not_writable(self._root, error) from error

    @contextlib.contextmanager
    def _lock(self, name: str) -> t.Iterator[None]:
        try:
            descriptor = os.open(f"{self._root}/.{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise _not_writable(self._root, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _lay_out(self, directory: str, description: dict[str, t.Any]) -> None:
        # A directory under its final name is complete, also after a power loss.
        new = f"{self._root}/.{os.path.basename(directory)}.new"
        shutil.rmtree(new, ignore_errors=True)
        os.mkdir(new, 0o700)
        _write(f"{new}/run", SUPERVISOR)
        _write(f"{new}/job.json", json.dumps(description))
        _sync_directory(new)
        os.rename(new, directory)
        _sync_directory(self._root)

    def _launch(self, name: str, directory: str, argv: t.Sequence[str], cwd: str | None) -> None:
        script = f"{directory}/run"
        # https://www.freedesktop.org/software/systemd/man/sd_booted.html
        if os.path.isdir("/run/systemd/system"):
            unit = f"gitlab-fleet-upgrade-{name}-{time.time_ns()}"
            environment = {key: os.environ[key] for key in ("HOME", "PATH") if key in os.environ}
            environment.update(LC_ALL="C.UTF-8", LANGUAGE="C.UTF-8")
            command = systemd_carrier(script, argv, unit, cwd, environment)
        else:
            command = session_carrier(script, argv)
        result = self._runner.run(command, cwd=cwd)
        if result.rc != 0:
            shutil.rmtree(directory)
            raise GitLabError(
                f"The job {name} could not be started: {result.output.strip()}.",
                "Check that this user is root (become: true).",
                cmd=command,
            )

    def _started(self, name: str, directory: str) -> Job:
        deadline = time.monotonic() + START_SECONDS
        while True:
            job = self._load(name, directory)
            if job and (os.path.exists(f"{directory}/command") or job.status != RUNNING):
                return job
            if time.monotonic() > deadline:
                raise GitLabError(
                    f"The job {name} did not start within {START_SECONDS} seconds: {tail(directory + '/errors').strip()}",
                    f"Look into {directory}; remove it before the next try.",
                )
            time.sleep(0.02)

    def _load(self, name: str, directory: str) -> Job | None:
        description = _describe(directory)
        if description is None:
            if not any(map(_is_alive, _processes(directory))):
                return None
            # Another run may have begun it between the two looks.
            description = _describe(directory)
            if description is None:
                raise _unreadable(name, directory)
        ended = parse_status(_read(f"{directory}/status"))
        if ended is None:
            processes = _processes(directory)
            young = not any(processes) and time.time() - description["started_at"] < START_SECONDS
            alive = young or any(_is_alive(line) for line in processes)
            # It may have ended between the two looks.
            ended = None if alive else parse_status(_read(f"{directory}/status"))
            status = RUNNING if alive else LOST
        if ended is not None:
            status = ENDED
        return Job(
            name=name,
            argv=tuple(description["argv"]),
            directory=directory,
            status=status,
            started_at=description["started_at"],
            rc=ended[0] if ended else None,
            ended_at=ended[1] if ended else None,
            note=description["note"],
        )

    def _forget_oldest(self, archive: str, name: str) -> None:
        mine = sorted(entry for entry in os.listdir(archive) if entry.rsplit(".", 2)[0] == name)
        for entry in mine[:-KEPT_ENDED_JOBS]:
            shutil.rmtree(f"{archive}/{entry}")


def _describe(directory: str) -> dict[str, t.Any] | None:
    """Return the content of C(job.json), None where it is empty, torn or not there."""
    try:
        description = json.loads(_read(f"{directory}/job.json"))
    except ValueError:
        return None
    complete = isinstance(description, dict) and {"argv", "note", "started_at"} <= set(description)
    return description if complete else None


def _processes(directory: str) -> list[str]:
    return [_read(f"{directory}/{file}") for file in ("supervisor", "command")]


def _is_alive(line: str) -> bool:
    recorded = parse_stat(line)
    if recorded is None:
        return False
    text = _read(f"/proc/{recorded[0]}/stat")
    zombie = text.rpartition(")")[2].split()[:1] == ["Z"]
    # The same number with another start time is another process.
    return not zombie and parse_stat(text) == recorded


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    except OSError as error:
        raise GitLabError(f"Cannot read {path}: {error.strerror}.", "Run as root (become: true).", path=path) from error


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: str) -> None:
    # A name is on the disk only when its directory is: https://man7.org/linux/man-pages/man2/fsync.2.html
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _occupied(present: Job) -> GitLabError:
    command = present.command
    if present.status == RUNNING:
        return GitLabError(
            f"Another command is running on this host as {present.name}: {command}",
            f"Wait until it ends (its output: {present.log}), then run this again.",
            job=present.name,
            log=present.log,
        )
    return GitLabError(
        f"The result of an earlier {present.name} has not been collected: {command}",
        f"Run again; if this persists, look into {present.directory} and remove it.",
        job=present.name,
        log=present.log,
    )


def _unreadable(name: str, directory: str) -> GitLabError:
    return GitLabError(
        f"A command runs on this host as {name}, and {directory}/job.json, which says what it is, cannot be read.",
        f"Wait until it ends (its output: {directory}/log), then run this again.",
        job=name,
        log=f"{directory}/log",
    )


def _not_writable(path: str, error: OSError) -> GitLabError:
    return GitLabError(
        f"Cannot write {path}: {error.strerror}.",
        "Run as root (become: true) and check the free space there.",
        path=path,
    )
