# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What bbm_status costs with few and with very many jobs, half of them of a migration that is not finished."""

from __future__ import annotations

import os
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gitlab_tables import migration, tables
from postgres import PORT, Cluster
from timing import measure

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _probe
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import PARTS
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_status import Reading, Selection, status
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._gitlab import Installation

VERSION = (17, 11)
GOAL = 1.5


@dataclass(frozen=True)
class _OnThisMachine(Installation):
    """An installation whose psql reaches the benchmark's cluster."""

    cluster: Cluster
    folder: Path

    @property
    def version_file(self) -> str:
        return str(self.folder / "VERSION")

    def psql(self, dbname: str) -> list[str]:
        return self.cluster.psql_argv(dbname)


def run(sizes: t.Sequence[int], rounds: int) -> t.Iterator[str]:
    """Fill a database for each size, measure all of them in turns, and yield the report's lines."""
    yield "# bbm_status by the number of job rows: one whole task (by network, on this machine), and the question alone"
    yield "     jobs  whole task  to smallest    question  to smallest"
    with Cluster.started() as cluster, tempfile.TemporaryDirectory() as folder:
        here = _OnThisMachine("omnibus", "", "", cluster, Path(folder))
        Path(here.version_file).write_text("17.11.7-ee\n")
        names = {size: cluster.create(_rows(size)) for size in sizes}
        tasks = measure({str(size): partial(_task, cluster, names[size]) for size in sizes}, rounds)
        questions = measure({str(size): partial(_question, here, names[size]) for size in sizes}, rounds * 3)
    smallest = str(min(sizes))
    for size in map(str, sizes):
        task, question = tasks[size], questions[size]
        goal = f"   goal: at most {GOAL}" if int(size) == max(sizes) else ""
        yield (
            f"{size:>9}  {task:8.2f} s  {task / tasks[smallest]:11.2f}  {question * 1000:7.1f} ms"
            f"  {question / questions[smallest]:11.2f}{goal}"
        )


def _task(cluster: Cluster, dbname: str) -> None:
    """One task from the shell: Ansible, the module, the network way."""
    options = f"database_backend=psycopg2 login_host={cluster.socket} login_port={PORT}"
    command = ["ansible", "localhost", "-c", "local", "-m", "gitlab_fleet.upgrade.bbm_status"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "true", "ANSIBLE_PYTHON_INTERPRETER": "auto_silent"}
    done = subprocess.run(
        [
            *command,
            "-a",
            f"{options} databases={{'main':'{dbname}'}}",
            "-e",
            "ansible_python_interpreter={{ansible_playbook_python}}",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])


def _question(here: _OnThisMachine, dbname: str) -> None:
    """What the controller's way does, without Ansible: the probe on the host, and reading its answer."""
    databases = {"main": dbname}
    done = subprocess.run(
        _probe.command(here, databases), input=_probe.question(PARTS), capture_output=True, text=True, check=True
    )
    answer = _probe.read(done.stdout, here, databases)
    readings = [Reading(database, answer.parts[database.name]) for database in answer.topology.databases]
    result = status(answer.version, readings, Selection())
    if result["unfinished"] != ["main_1", "main_2"]:
        raise RuntimeError(f"unexpected answer: {result}")


def _rows(size: int) -> str:
    """Half of the jobs are of an active migration, a quarter of a failed one, the rest of finished ones."""
    return (
        tables(VERSION)
        + migration(VERSION, table_name="'large'", max_value=10**10, total_tuple_count=10**10)
        + migration(VERSION, table_name="'failed'", max_value=10**10, total_tuple_count=10**10, status=4)
        + "".join(migration(VERSION, table_name=f"'finished_{number}'", status=3) for number in range(58))
        + f"""
INSERT INTO batched_background_migration_jobs (created_at, updated_at, started_at, finished_at,
  batched_background_migration_id, min_value, max_value, batch_size, sub_batch_size, status, attempts)
SELECT now() - ({size} - n) * interval '1 minute', now() - ({size} - n) * interval '1 minute',
  now() - ({size} - n) * interval '1 minute', now() - ({size} - n) * interval '1 minute' + interval '20 s',
  CASE n % 4 WHEN 0 THEN 1 WHEN 1 THEN 1 WHEN 2 THEN 2 ELSE 3 + n % 58 END,
  n * 1000::bigint + 1, n * 1000::bigint + 1000, 1000, 100, CASE WHEN n % ({size} / 20) = 2 THEN 2 ELSE 3 END, 3
FROM generate_series(0, {size} - 1) AS n;
ANALYZE;"""
    )
