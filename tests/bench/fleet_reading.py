# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the playbook status takes for a whole fleet, beside the same SQL by raw and by plain ssh."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gitlab_tables import job, migration, tables
from timing import measure

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _probe
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._bbm_sql import PARTS

MINI_GITLAB = Path(__file__).resolve().parents[1] / "mini_gitlab"
SPEC = "gitlab-17.11.7-db-only"
VERSION = (17, 11)
DBNAME = "gitlabhq_production"
GOAL = 1.5

PSQL = f"/opt/gitlab/bin/gitlab-psql -X -q -t -A -P pager=off -v ON_ERROR_STOP=1 -d {DBNAME}"


def run(sizes: t.Sequence[int], forks: int, rounds: int) -> t.Iterator[str]:
    """Bring the largest number of hosts up, measure each number, and yield the report's lines."""
    yield f"# The status of a whole fleet, {forks} at a time: playbook, raw with the same SQL, plain ssh with the same SQL"
    yield "instances  status.yml        raw         ssh   status.yml/raw  status.yml/ssh"
    with tempfile.TemporaryDirectory() as folder, _Fleet(Path(folder)) as fleet:
        fleet.up(max(sizes))
        for size in sizes:
            ways = fleet.ways(size, forks)
            taken = measure(ways, rounds)
            ours, raw, ssh = (taken[name] for name in ways)
            goal = f"   goal: at most {GOAL} x raw" if size == max(sizes) else ""
            yield f"{size:9d}  {ours:8.2f} s  {raw:7.2f} s  {ssh:8.2f} s   {ours / raw:14.2f}  {ours / ssh:14.2f}{goal}"


class _Fleet:
    """Hosts with a database in the state of a usual upgrade: many finished migrations, a few that go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "MINI_GITLAB_FLEET": f"bench-{os.getpid()}",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_SSH_PIPELINING": "true",
            # Sockets need short paths.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        }
        self._image = ""

    def __enter__(self) -> _Fleet:
        return self

    def __exit__(self, *_details: object) -> None:
        self._call("fleet.py", "down")
        if self._image:
            self._call("fleet.py", "rmimage", self._image)

    def up(self, number: int) -> None:
        base = self._call("build.py", "image", SPEC).strip()
        self._call("fleet.py", "up", "seed", "--image", base)
        self._await("seed")
        self._call("fleet.py", "exec", "seed", "--", *shlex.split(PSQL), stdin=_rows())
        self._call("fleet.py", "stop", "seed")
        image = f"bench-{os.getpid()}"
        self._call("fleet.py", "image", "seed", image)
        self._image = image
        self._call("fleet.py", "down", "seed")
        names = [f"bench-{index:03d}" for index in range(1, number + 1)]
        self._call("fleet.py", "up", *names, "--image", image)
        for name in names:
            self._await(name)
        (self._folder / "hosts.yml").write_text(self._call("fleet.py", "inventory"))
        listing = json.loads(
            subprocess.run(
                ["ansible-inventory", "-i", str(self._folder / "hosts.yml"), "--list"],
                check=True,
                capture_output=True,
                text=True,
                env=self._environment,
            ).stdout
        )
        self._variables: dict[str, dict[str, str]] = listing["_meta"]["hostvars"]

    def ways(self, size: int, forks: int) -> dict[str, t.Callable[[], object]]:
        """Return the three ways to ask ``size`` hosts."""
        hosts = sorted(self._variables)[:size]
        # The probe adds this line on the host.
        question = "\\set migration_files ''\n" + _probe.question(PARTS)
        command = f"{PSQL} -f - <<'SQL'\n{question}SQL"
        raw = self._folder / "raw.json"
        raw.write_text(
            json.dumps(
                [{"hosts": "all", "gather_facts": False, "tasks": [{"name": "Ask", "ansible.builtin.raw": command}]}]
            )
        )
        options = {"gitlab_upgrade_hosts": "all", "gitlab_upgrade_instance_options": {"databases": {"main": DBNAME}}}
        common = ["-i", str(self._folder / "hosts.yml"), "--limit", ",".join(hosts), "--forks", str(forks)]
        return {
            "status": lambda: self._play("gitlab_fleet.upgrade.status", *common, "-e", json.dumps(options)),
            "raw": lambda: self._play(str(raw), *common),
            "ssh": lambda: self._by_ssh(hosts, forks, question),
        }

    def _play(self, *arguments: str) -> None:
        done = subprocess.run(
            ["ansible-playbook", *arguments], env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])

    def _by_ssh(self, hosts: t.Sequence[str], forks: int, question: str) -> None:
        def ask(host: str) -> None:
            variables = self._variables[host]
            words = shlex.split(variables["ansible_ssh_common_args"])
            # As Ansible does it: one connection is kept.
            words += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o", f"ControlPath={self._folder}/%h"]
            words += ["-i", variables["ansible_ssh_private_key_file"], f"root@{variables['ansible_host']}"]
            subprocess.run(["ssh", *words, f"{PSQL} -f -"], input=question, check=True, capture_output=True, text=True)

        with ThreadPoolExecutor(forks) as pool:
            list(pool.map(ask, hosts))

    def _await(self, host: str) -> None:
        ask = f"for n in $(seq 150); do {PSQL} -c 'SELECT 1' >/dev/null 2>&1 && exit 0; sleep 0.2; done; exit 1"
        self._call("fleet.py", "exec", host, "--", "sh", "-c", ask)

    def _call(self, program: str, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [MINI_GITLAB / program, *arguments],
            input=stdin,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout


def _rows() -> str:
    finished = "".join(migration(VERSION, table_name=f"'finished_{number}'", status=3) for number in range(1, 61))
    active = "".join(
        migration(VERSION, table_name=f"'active_{number}'", total_tuple_count=1_000_000) for number in (1, 2)
    )
    jobs = "".join(
        job(
            61 + number % 2,
            min_value=number * 1000 + 1,
            max_value=number * 1000 + 1000,
            started_at=f"now() - interval '{200 - number} minutes'",
            finished_at=f"now() - interval '{200 - number} minutes' + interval '20 s'",
        )
        for number in range(200)
    )
    return tables(VERSION) + finished + active + jobs
