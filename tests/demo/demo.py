# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three GitLab instances that are stuck half-way through an upgrade, rolled forward side by side.

Starts three test hosts with the mini GitLab (tests/mini_gitlab), shows their state with playbooks/status.yml, rolls them
forward with playbooks/roll_forward.yml, and asks each database itself whether everything is done. Ends with exit code 0
only when it is.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTBED = ROOT / "tests" / "mini_gitlab"

# What is wrong with each instance is told in tests/mini_gitlab/scenarios.
INSTANCES = {
    "acme": "stuck-copy-column",
    "globex": "stuck-duplicate-table",
    "initech": "stuck-ci-failed",
}

INVENTORY = pathlib.Path(__file__).with_name("inventory.yml")

# The 14.2 upgrade copies these columns; the left must equal the right in every row when the demo is over.
COPIED = {
    "ci_stages": [("id", "id_convert_to_bigint")],
    "ci_builds_metadata": [("id", "id_convert_to_bigint"), ("build_id", "build_id_convert_to_bigint")],
    "push_event_payloads": [("event_id", "event_id_convert_to_bigint")],
    "deployments": [("deployable_id", "deployable_id_convert_to_bigint")],
    "taggings": [("id", "id_convert_to_bigint"), ("taggable_id", "taggable_id_convert_to_bigint")],
}


def testbed(program: str, *arguments: str) -> str:
    """Run one of the test bed's programs and return what it prints."""
    command = [sys.executable, str(TESTBED / program), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def build(scenarios: t.Iterable[str]) -> list[str]:
    """Build the scenarios' images and return their names. What apt and reconfigure print is shown only if it fails."""
    command = [sys.executable, str(TESTBED / "build.py"), "scenario", *scenarios]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(f"{built.stderr}\nThe instances could not be built; the lines above say why.")
    return built.stdout.split()


def say(text: str) -> None:
    """Print a line of the demo's own."""
    print(f"\n##### {text}", flush=True)


def playbook(name: str, hosts: pathlib.Path) -> int:
    """Run one of the collection's playbooks as a user would, and return its exit code."""
    command = ["ansible-playbook", "-i", str(hosts), "-i", str(INVENTORY), f"gitlab_fleet.upgrade.{name}"]
    say(f"ansible-playbook -i inventory gitlab_fleet.upgrade.{name}")
    environment = dict(os.environ, ANSIBLE_CONFIG=str(INVENTORY.with_name("ansible.cfg")), ANSIBLE_FORCE_COLOR="0")
    return subprocess.run(command, check=False, env=environment).returncode


def psql(host: str, database: str, sql: str) -> str:
    """Return the answer of a query that is sent past the collection."""
    return testbed("fleet.py", "exec", host, "--", "gitlab-psql", "-At", "-d", database, "-c", sql).strip()


def unfinished() -> list[str]:
    """Ask the databases and Rake themselves which migrations are not done."""
    found = []
    for host in INSTANCES:
        for database in psql(
            host, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'gitlabhq%'"
        ).split():
            left = psql(host, database, "SELECT count(*) FROM batched_background_migrations WHERE status NOT IN (3, 6)")
            if left != "0":
                found.append(f"{host}: {left} batched background migrations of {database} are unfinished")
        status = testbed("fleet.py", "exec", host, "--", "gitlab-rake", "db:migrate:status")
        found += [f"{host}: {line.strip()}" for line in status.splitlines() if line.strip().startswith("down")]
        if "up  " not in status:
            found.append(f"{host}: db:migrate:status lists nothing")
    return found


def problems() -> list[str]:
    """Ask the instances themselves what is not as it must be."""
    found = unfinished()
    for host in INSTANCES:
        ready = testbed("fleet.py", "exec", host, "--", "curl", "-s", "http://localhost/-/readiness")
        if '"status":"ok"' not in ready:
            found.append(f"{host}: not ready: {ready}")
    for table, pairs in COPIED.items():
        for left, right in pairs:
            wrong = psql(
                "acme", "gitlabhq_production", f"SELECT count(*) FROM {table} WHERE {left} IS DISTINCT FROM {right}"
            )
            if wrong != "0":
                found.append(f"acme: {wrong} rows of {table} have another value in {right} than in {left}")
    return found


def main() -> int:
    """Run the demo; return 0 when every instance ended clean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the hosts running afterwards")
    options = parser.parse_args()
    os.environ.setdefault("MINI_GITLAB_FLEET", "demo")

    say("Building three instances that are stuck half-way through an upgrade (only the first run takes minutes)")
    images = build(INSTANCES.values())
    testbed("fleet.py", "down")
    try:
        for host, image in zip(INSTANCES, images, strict=True):
            testbed("fleet.py", "up", host, "--image", image)
        with tempfile.TemporaryDirectory() as folder:
            hosts = pathlib.Path(folder, "hosts.yml")
            hosts.write_text(testbed("fleet.py", "inventory"), encoding="utf-8")
            playbook("status", hosts)
            before = unfinished()
            rolled = playbook("roll_forward", hosts)
        say("Asking the databases and web pages themselves")
        found = problems()
        print(
            "\n".join(found)
            if found
            else "Every migration is finished and up, every row is copied, every page answers."
        )
        stuck = {line.partition(":")[0] for line in before}
        found += [f"{host} was not stuck at the start" for host in INSTANCES if host not in stuck]
        if rolled != 0:
            found.append(f"roll_forward.yml ended with exit code {rolled}")
        say("The demo FAILED: " + "; ".join(found) if found else "Done: three stuck instances, rolled forward.")
        return 1 if found else 0
    finally:
        if not options.keep:
            testbed("fleet.py", "down")


if __name__ == "__main__":
    sys.exit(main())
