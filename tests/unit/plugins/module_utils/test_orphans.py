# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _orphans
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._orphans import (
    OpenJob,
    Process,
    Sample,
    can_run_batches,
    is_abandoned,
    is_proven_at_once,
    is_spinning,
    older_than,
    suspects,
)

QUIET = Sample(hidden=0, working=0, waiting=0, remote=0)
WORKING = QUIET._replace(working=1)
WAITING = QUIET._replace(waiting=1)
REMOTE = QUIET._replace(remote=2)
HIDDEN = QUIET._replace(hidden=1)

JOB = OpenJob(id=7, running=True, started_at=1000.0, age=30.0)
OLDER = Process(10, "sidekiq 6.4.0 queues: default [1 of 20 busy]", 900.0)
YOUNGER = Process(11, "rake gitlab:background_migrations:finalize[...]", 1100.0)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("sidekiq 6.4.0 queues:default,mailers [1 of 20 busy] ", True),
        ("/opt/gitlab/embedded/bin/ruby bin/sidekiq-cluster * -P /opt/x.pid", True),
        ("/usr/bin/ruby3.1 /usr/bin/rake db:migrate ", True),
        ("ruby /opt/gitlab/embedded/service/gitlab-rails/bin/rails runner -e production x", True),
        ("/opt/gitlab/embedded/bin/bundle exec rake db:migrate", True),
        ("rake gitlab:background_migrations:finalize[a,b,c,[]]", True),
        ("puma: cluster worker 0: 42 [gitlab-puma-worker]", False),
        ("ruby /opt/gitlab/embedded/bin/puma -C /var/opt/gitlab/gitlab-rails/etc/puma.rb", False),
        ("runsv sidekiq", False),
        ("svlogd -tt /var/log/gitlab/sidekiq", False),
        ("vim sidekiq.log", False),
        ("python3 -m rake", False),
        ("", False),
    ],
)
def test_which_processes_can_run_batches(title: str, expected: bool) -> None:
    assert can_run_batches(title) is expected


def test_this_hosts_processes_have_their_true_start_times() -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(reading, 0)
        os.execv("/bin/sh", ["/opt/gitlab/bin/gitlab-rake", "-c", "read line", "db:migrate"])
    os.close(reading)
    try:
        deadline = time.monotonic() + 10
        found: list[Process] = []
        while not found and time.monotonic() < deadline:
            found = [process for process in _orphans.ruby_processes() if process.pid == pid]
        assert len(found) == 1
        assert "gitlab-rake" in found[0].title
        assert abs(found[0].started_at - time.time()) < 12
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


def test_a_process_may_work_on_a_job_only_if_it_is_older() -> None:
    assert older_than([OLDER, YOUNGER], 1000.0) == [OLDER]
    assert older_than([YOUNGER], None) == [YOUNGER]
    # The boot time is known to the second.
    assert older_than([OLDER._replace(started_at=1001.5)], 1000.0) != []


@pytest.mark.parametrize(
    ("sample", "processes", "expected"),
    [
        (QUIET, [], True),
        (QUIET, [YOUNGER], True),
        (WAITING, [], True),
        (QUIET, [OLDER], False),
        (REMOTE, [], False),
        (WORKING, [], False),
        (HIDDEN, [], False),
    ],
)
def test_proof_without_watching(sample: Sample, processes: list[Process], expected: bool) -> None:
    assert is_proven_at_once(sample, [JOB], processes) is expected


@pytest.mark.parametrize(
    ("samples", "abandoned", "spinning"),
    [
        ([], False, False),
        ([QUIET, QUIET], True, False),
        ([QUIET, WORKING], False, False),
        ([REMOTE, QUIET], True, False),
        ([HIDDEN, QUIET], False, False),
        ([WAITING, WAITING], True, True),
        ([WAITING, QUIET], True, False),
        ([WAITING, WORKING], False, False),
    ],
)
def test_what_samples_prove(samples: list[Sample], abandoned: bool, spinning: bool) -> None:
    assert is_abandoned(samples) is abandoned
    assert is_spinning(samples) is spinning


def test_a_job_that_gitlab_itself_takes_again_is_no_suspect() -> None:
    jobs = [JOB, JOB._replace(id=8, age=3601.0), JOB._replace(id=9, running=False)]
    assert suspects(jobs) == [JOB]
