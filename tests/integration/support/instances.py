# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mini GitLab instances, with modules run on them by a real ansible-playbook over real SSH."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import typing as t
from contextlib import contextmanager
from pathlib import Path

MINI_GITLAB = Path(__file__).resolve().parents[2] / "mini_gitlab"

RAILS_ROOT = "/opt/gitlab/embedded/service/gitlab-rails"


class Instances:
    """The instances of one test module: a fleet of hosts of its own."""

    def __init__(self, fleet: str, directory: Path) -> None:
        self._environment = {
            **os.environ,
            "MINI_GITLAB_FLEET": fleet,
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_PIPELINING": "true",
        }
        self._directory = directory
        self._inventory = directory / "hosts.yml"
        self.output = ""

    @classmethod
    @contextmanager
    def fleet(cls, name: str) -> t.Iterator[Instances]:
        """A fleet that is gone afterwards."""
        with tempfile.TemporaryDirectory() as directory:
            instances = cls(f"{name}-{os.getpid()}", Path(directory))
            try:
                yield instances
            finally:
                instances._call("fleet.py", "down")

    def up(self, hosts: t.Mapping[str, str]) -> None:
        """Start hosts: names to images, such as C({"acme-1": "gitlab-14.2.7"}); returns when they are ready."""
        self.up_from({host: self._call("build.py", "image", spec).strip() for host, spec in hosts.items()})

    def up_from(self, images: t.Mapping[str, str]) -> None:
        """Start hosts from images that are there, as C(fleet.py image) makes them; returns when they are ready."""
        for host, image in images.items():
            self._call("fleet.py", "up", host, "--image", image)
        self._inventory.write_text(self._call("fleet.py", "inventory"))
        for host in images:
            self.await_ready(host)

    def await_ready(self, host: str) -> None:
        """Wait until the instance serves."""
        url = "http://127.0.0.1/-/readiness"
        self.sh(
            host, f"for n in $(seq 90); do curl -fsS -o /dev/null {url} 2>/dev/null && exit 0; sleep 1; done; exit 1"
        )

    def call(self, command: str, *arguments: str) -> str:
        """Run a command of the test hosts, such as C(reboot) or C(cut), and return what it printed."""
        return self._call("fleet.py", command, *arguments)

    def sh(self, host: str, script: str) -> str:
        """Run a shell script as root, without Ansible, and return what it printed."""
        return self._call("fleet.py", "exec", host, "--", "bash", "-euc", script).strip()

    def fails(self, host: str, script: str) -> str:
        """Run a script that must fail, and return all that it printed."""
        done = self._run("fleet.py", "exec", host, "--", "bash", "-euc", script)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    def sql(self, host: str, statement: str, dbname: str = "gitlabhq_production") -> str:
        """Run SQL and return what it printed, one row a line."""
        return self.sh(host, f"gitlab-psql -XAtq -v ON_ERROR_STOP=1 -d {dbname} <<'SQL'\n{statement}\nSQL")

    def run(
        self,
        host: str,
        module: str,
        *,
        check: bool = False,
        variables: t.Mapping[str, t.Any] | None = None,
        **options: t.Any,
    ) -> dict[str, t.Any]:
        """Run one module of the collection and return its result, also when it failed.

        ``variables`` are task variables, such as C(ansible_become). What the run printed is kept in C(output).
        """
        return self.run_each(host, module, [options], check=check, variables=variables)[0]

    def run_each(
        self,
        host: str,
        module: str,
        cases: t.Sequence[t.Mapping[str, t.Any]],
        *,
        check: bool = False,
        variables: t.Mapping[str, t.Any] | None = None,
    ) -> list[dict[str, t.Any]]:
        """Run a module once for each set of options, in one playbook, and return the results."""
        return self.run_tasks(host, [(module, options) for options in cases], check=check, variables=variables)

    def run_tasks(
        self,
        host: str,
        cases: t.Sequence[tuple[str, t.Mapping[str, t.Any]]],
        *,
        check: bool = False,
        variables: t.Mapping[str, t.Any] | None = None,
    ) -> list[dict[str, t.Any]]:
        """Run modules with their options one after another, in one playbook, also when one failed; return the results."""
        answers = self._directory / "results.json"
        tasks: list[dict[str, t.Any]] = [
            {
                "name": f"Run the module, case {number}",
                f"gitlab_fleet.upgrade.{module}": options,
                "register": f"result_{number}",
                "ignore_errors": True,
                "ignore_unreachable": True,
                "vars": dict(variables or {}),
            }
            for number, (module, options) in enumerate(cases)
        ]
        results = ", ".join(f"result_{number}" for number in range(len(cases)))
        keep = {
            "name": "Keep the results",
            "ansible.builtin.copy": {
                "content": f"{{{{ [{results}] | to_json }}}}",
                "dest": str(answers),
                "mode": "0600",
            },
            "delegate_to": "localhost",
            "check_mode": False,
            "diff": False,
        }
        playbook = self._directory / "playbook.json"
        playbook.write_text(json.dumps([{"hosts": host, "gather_facts": False, "tasks": [*tasks, keep]}]))
        command = ["ansible-playbook", "-i", str(self._inventory), "--diff", str(playbook)]
        if check:
            command.append("--check")
        answers.unlink(missing_ok=True)
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        self.output = done.stdout + done.stderr
        assert answers.exists(), self.output
        assert "Traceback" not in self.output, self.output
        kept: list[dict[str, t.Any]] = json.loads(answers.read_text())
        return kept

    def play(self, playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook, by its path or as C(gitlab_fleet.upgrade.<name>)."""
        command = ["ansible-playbook", "-i", str(self._inventory), playbook, *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MINI_GITLAB / program, *arguments], env=self._environment, capture_output=True, text=True, check=False
        )

    def _call(self, program: str, *arguments: str) -> str:
        done = self._run(program, *arguments)
        assert done.returncode == 0, f"{program} {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout
