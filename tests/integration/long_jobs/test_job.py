# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs with real processes, in a directory of the test's own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _job
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job import Job, Jobs, parse_stat
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._job_poll import look_command, parse_look
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._runner import CommandResult


class Runner:
    """What a module's runner does: pipes for the output, and back only when both are closed."""

    def run(self, argv, stdin=None, cwd=None, env=None):
        done = subprocess.run(argv, input=stdin, cwd=cwd, capture_output=True, text=True, timeout=20, check=False)
        return CommandResult(list(argv), done.returncode, done.stdout, done.stderr)


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Runner(), str(tmp_path / "jobs"))


def wait_until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def over(jobs: Jobs, name: str) -> Job:
    wait_until(lambda: jobs.find(name).status != _job.RUNNING)
    return jobs.find(name)


def pid_of(job: Job, file: str) -> int:
    path = Path(job.directory, file)
    # The shell makes the file before it writes into it.
    wait_until(lambda: path.exists() and parse_stat(path.read_text()))
    return parse_stat(path.read_text())[0]


def look(job: Job, offset: int = 0):
    done = subprocess.run(look_command(job.directory, offset), shell=True, capture_output=True, text=True, check=True)
    return parse_look(done.stdout)


def test_a_job_leaves_output_exit_status_and_times(jobs: Jobs) -> None:
    before = time.time()
    jobs.start("work", ["/bin/sh", "-c", "echo out; echo err >&2; exit 7"], note={"row": 3})
    job = over(jobs, "work")
    assert (job.status, job.rc, job.note) == (_job.ENDED, 7, {"row": 3})
    assert Path(job.log).read_text() == "out\n"
    assert Path(job.errors).read_text() == "err\n"
    assert before <= job.started_at
    assert job.ended_at >= int(before)


def test_files_are_roots_alone_and_the_command_keeps_the_callers_umask(jobs: Jobs, tmp_path: Path) -> None:
    made = tmp_path / "made"
    mask = os.umask(0o022)
    try:
        jobs.start("work", ["touch", str(made)])
    finally:
        os.umask(mask)
    job = over(jobs, "work")
    assert stat.S_IMODE(os.stat(job.directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.dirname(job.directory)).st_mode) == 0o700
    for file in Path(job.directory).iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert stat.S_IMODE(made.stat().st_mode) == 0o644


def test_arguments_arrive_as_they_are(jobs: Jobs) -> None:
    arguments = ["", "a b", "$HOME `id`", 'it\'s "so"', "new\nline", "\\", '["id"]\\, é', "-n", "*"]
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    jobs.start("work", ["python3", "-c", code, *arguments])
    assert json.loads(Path(over(jobs, "work").log).read_text()) == arguments


def test_a_job_has_its_own_session_no_terminal_and_no_open_files_of_the_caller(jobs: Jobs, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w"):
        jobs.start("work", ["/bin/sh", "-c", "ls -l /proc/$$/fd; cat /proc/$$/stat"])
    job = over(jobs, "work")
    *files, line = Path(job.log).read_text().splitlines()
    _parent, _group, session, terminal = (int(field) for field in line.rpartition(")")[2].split()[1:5])
    assert session != os.getsid(0)
    assert terminal == 0
    assert not [file for file in files if "/open" in file or "pipe:" in file]
    assert [file for file in files if file.endswith("/dev/null")]


def test_the_same_command_attaches_and_the_work_runs_once(jobs: Jobs, tmp_path: Path) -> None:
    argv = ["/bin/sh", "-c", f"echo once >>{tmp_path}/work; sleep 1"]
    first = jobs.start("work", argv)
    second = jobs.start("work", argv)
    assert second.status == _job.RUNNING
    assert second.started_at == first.started_at
    assert over(jobs, "work").rc == 0
    assert (tmp_path / "work").read_text() == "once\n"


def test_another_command_under_a_running_name_is_refused(jobs: Jobs) -> None:
    job = jobs.start("work", ["sleep", "30"])
    with pytest.raises(GitLabError, match="Another command is running on this host as work: sleep 30"):
        jobs.start("work", ["sleep", "31"])
    os.kill(pid_of(job, "command"), signal.SIGTERM)
    assert over(jobs, "work").rc == 128 + signal.SIGTERM


def test_a_result_is_collected_once_and_the_next_start_begins_anew(jobs: Jobs) -> None:
    argv = ["/bin/sh", "-c", "echo done"]
    jobs.start("work", argv)
    over(jobs, "work")
    with pytest.raises(GitLabError, match="has not been collected"):
        jobs.start("work", argv)
    collected = jobs.collect("work")
    assert collected.rc == 0
    assert Path(collected.log).read_text() == "done\n"
    assert jobs.find("work") is None
    with pytest.raises(GitLabError, match="not over"):
        jobs.collect("work")
    jobs.start("work", argv)
    assert over(jobs, "work").rc == 0


def test_only_the_newest_results_are_kept(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_job, "KEPT_ENDED_JOBS", 2)
    for name in ("work", "work.other"):
        jobs.start(name, ["true"])
        over(jobs, name)
        jobs.collect(name)
    kept = []
    for _index in range(3):
        jobs.start("work", ["true"])
        over(jobs, "work")
        kept.append(os.path.basename(jobs.collect("work").directory))
    left = set(os.listdir(tmp_path / "jobs" / "archive"))
    assert set(kept[1:]) <= left
    assert [entry.rsplit(".", 2)[0] for entry in sorted(left - set(kept[1:]))] == ["work.other"]


def test_sigkill_of_the_command_is_an_exit_status(jobs: Jobs) -> None:
    job = jobs.start("work", ["sleep", "30"])
    os.kill(pid_of(job, "command"), signal.SIGKILL)
    assert over(jobs, "work").rc == 128 + signal.SIGKILL


def test_a_killed_supervisor_leaves_a_job_that_runs_and_is_lost_when_it_ends(jobs: Jobs) -> None:
    job = jobs.start("work", ["sleep", "30"])
    os.kill(pid_of(job, "supervisor"), signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid_of(job, 'supervisor')}").exists())
    assert jobs.find("work").status == _job.RUNNING
    assert look(job).running
    os.kill(pid_of(job, "command"), signal.SIGKILL)
    lost = over(jobs, "work")
    assert (lost.status, lost.rc) == (_job.LOST, None)
    assert not look(job).running
    assert jobs.collect("work").status == _job.LOST


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_of_its_processes_is_written_down(jobs: Jobs, number: signal.Signals) -> None:
    job = jobs.start("work", ["python3", "-c", "import signal, time; signal.signal(2, signal.SIG_DFL); time.sleep(30)"])
    time.sleep(0.3)
    os.killpg(os.getpgid(pid_of(job, "supervisor")), number)
    ended = over(jobs, "work")
    assert (ended.status, ended.rc) == (_job.ENDED, 128 + number)


def test_a_process_that_got_the_number_later_is_not_taken_for_the_job(jobs: Jobs) -> None:
    job = jobs.start("work", ["sleep", "30"])
    pid = pid_of(job, "command")
    os.kill(pid_of(job, "supervisor"), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    line = Path("/proc/self/stat").read_text()
    fields = line.rpartition(")")[2].split()
    fields[19] = str(int(fields[19]) - 1)
    Path(job.directory, "command").write_text(f"{line.rpartition(')')[0]}) {' '.join(fields)}\n")
    assert over(jobs, "work").status == _job.LOST
    assert not look(job).running


@pytest.mark.parametrize("torn", ["", '{"argv": ["db:mi', "[]", None])
def test_what_a_power_loss_left_of_a_job_is_put_aside(jobs: Jobs, tmp_path: Path, torn: str | None) -> None:
    directory = tmp_path / "jobs" / "migrate"
    directory.mkdir(parents=True)
    if torn is not None:
        (directory / "job.json").write_text(torn)
    assert jobs.find("migrate") is None
    jobs.start("migrate", ["true"], note={"seen": 1})
    assert over(jobs, "migrate").note == {"seen": 1}
    (archived,) = (tmp_path / "jobs" / "archive").iterdir()
    assert archived.name.startswith("migrate.")
    assert (archived / "job.json").exists() == (torn is not None)


def test_a_running_command_whose_description_is_lost_is_left_alone(jobs: Jobs) -> None:
    job = jobs.start("migrate", ["sleep", "30"])
    Path(job.directory, "job.json").write_text("")
    with pytest.raises(GitLabError, match=r"runs on this host as migrate.*/jobs/migrate/job.json.*Wait until it ends"):
        jobs.start("migrate", ["sleep", "30"])
    os.killpg(pid_of(job, "supervisor"), signal.SIGTERM)
    wait_until(lambda: Path(job.directory, "status").exists())
    assert jobs.find("migrate") is None


def test_what_was_started_is_on_the_disk_before_it_runs(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append(path)
        assert not os.path.exists(os.path.join(path, "migrate", "supervisor"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    root = os.path.dirname(jobs.start("migrate", ["true"]).directory)
    new = f"{root}/.migrate.new"
    assert synced == [f"{new}/run", f"{new}/job.json", new, root]


def start_in_a_process_of_its_own(root: str, argv: list[str], barrier, answers) -> None:
    barrier.wait()
    answers.put(Jobs(Runner(), root).start("work", argv).started_at)


def test_two_starts_at_once_are_one_job(tmp_path: Path) -> None:
    root = str(tmp_path / "jobs")
    argv = ["/bin/sh", "-c", f"echo once >>{tmp_path}/work; sleep 1"]
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.Queue()
    starters = [
        context.Process(target=start_in_a_process_of_its_own, args=(root, argv, barrier, answers))
        for number in range(barrier.parties)
    ]
    for starter in starters:
        starter.start()
    times = {answers.get(timeout=20) for starter in starters}
    for starter in starters:
        starter.join()
    assert len(times) == 1
    assert over(Jobs(Runner(), root), "work").rc == 0
    assert (tmp_path / "work").read_text() == "once\n"


def test_a_command_that_does_not_exist_ends_with_the_shells_status(jobs: Jobs) -> None:
    jobs.start("work", ["/nonexistent/command"])
    job = over(jobs, "work")
    assert job.rc == 127
    assert "/nonexistent/command" in job.output()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "archive", "Upper", "a\n"])
def test_a_name_cannot_lead_elsewhere(jobs: Jobs, name: str) -> None:
    with pytest.raises(GitLabError, match="cannot be the name of a job"):
        jobs.start(name, ["true"])


def test_a_look_reads_the_log_piece_by_piece(jobs: Jobs) -> None:
    job = jobs.start("work", ["/bin/sh", "-c", "echo é1; sleep 0.5; echo 2; sleep 30"])
    wait_until(lambda: look(job).text == "é1\n")
    first = look(job)
    assert first.running
    wait_until(lambda: look(job, first.offset).text == "2\n")
    os.kill(pid_of(job, "command"), signal.SIGTERM)
    over(jobs, "work")
    last = look(job, look(job).offset)
    assert (last.running, last.text, last.more) == (False, "", False)


def test_a_look_at_a_job_that_was_collected_says_that_it_is_over(jobs: Jobs) -> None:
    job = jobs.start("work", ["true"])
    over(jobs, "work")
    jobs.collect("work")
    assert look(job) == (False, "", 0, False)
