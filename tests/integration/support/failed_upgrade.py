# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that have a verified backup of 14.0.12 and then failed to become 14.2.7, and the rolling back of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from instances import MINI_GITLAB, Instances

BACKUP = "before"
OLD, NEW = "14.0.12-ee", "14.2.7-ee"
ARCHIVE = f"/var/opt/gitlab/backups/{BACKUP}_gitlab_backup.tar"
DIGEST = "gitlab-rake mini_gitlab:data_digest"
# What goes on while the instance serves; and the parts that a backup of 14.0 does not have yet, which stay as they are.
MOVING = (
    *("batched_background_migration", "push_event_payloads", "ci_stages", "deployments", "ar_internal_metadata"),
    *("ci_secure_files", "external_diffs", "packages", "terraform_state"),
)

LATE = """
WITH late AS (INSERT INTO namespaces (name, path) VALUES ('late', 'late-' || clock_timestamp()) RETURNING id)
INSERT INTO projects (name, path, namespace_id) SELECT 'late', 'late-' || clock_timestamp(), id FROM late
"""


@contextlib.contextmanager
def with_packages(name: str, images: t.Mapping[str, str], binds: t.Sequence[str] = ()) -> t.Iterator[Instances]:
    """Hosts from images that are there, which can install the packages of all versions; ``binds`` are further folders."""
    with tempfile.TemporaryDirectory() as repository, Instances.fleet(name) as fleet:
        build("repo", repository)
        Path(repository).chmod(0o755)
        options = [word for bind in (f"{repository}:/srv/gitlab-repo", *binds) for word in ("--bind", bind)]
        for host, image in images.items():
            fleet.call("up", host, "--image", image, *options)
        # Writes the inventory.
        fleet.up({})
        for host in images:
            fleet.await_ready(host)
            fleet.sh(host, "gitlab-ctl stop sidekiq")
            fleet.call("push", host, str(MINI_GITLAB / "fingerprint.py"), "/root/fingerprint.py")
        yield fleet


def image(kind: str, name: str) -> str:
    """Return the image of a C(scenario), or of a C(image) by its spec; it is made where it is not there."""
    return build(kind, name)


def build(*arguments: str) -> str:
    """Call build.py and return what it printed."""
    made = subprocess.run([MINI_GITLAB / "build.py", *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return made.stdout.strip()


@contextlib.contextmanager
def failed_upgrades(name: str, hosts: t.Sequence[str]) -> t.Iterator[Instances]:
    """Hosts after the failed upgrade; C(/root/digest) is what was in them when the backup was made."""
    with with_packages(name, dict.fromkeys(hosts, image("scenario", "before-failing-upgrade"))) as fleet:
        for host in hosts:
            back_up(fleet, host)
            fail_to_upgrade(fleet, host)
        yield fleet


def back_up(fleet: Instances, host: str) -> None:
    """Make a backup and its manifest."""
    made = fleet.run(host, "gitlab_backup", id=BACKUP, poll_interval=1)
    assert not made["failed"], made
    verified = fleet.run(host, "backup_verify", id=BACKUP, node=host, poll_interval=1)
    assert verified["manifest"]["verified"], verified
    fleet.sh(host, f"{DIGEST} > /root/digest")


def fail_to_upgrade(fleet: Instances, host: str) -> None:
    """Write something that the backup does not have, and upgrade too early."""
    fleet.sql(host, LATE)
    fleet.fails(host, f"apt-get install -y gitlab-ee={NEW}.0")
    assert fleet.sh(host, "dpkg-query -W -f '${db:Status-Status}' gitlab-ee") == "half-configured"


class Rollback:
    """The playbook C(rollback) for one host."""

    def __init__(self, fleet: Instances, host: str) -> None:
        self._fleet = fleet
        self.host = host

    def arguments(self, **variables: t.Any) -> list[str]:
        values = {
            "rollback_restore_backup": BACKUP,
            "rollback_restore_accept_loss_since_backup": True,
            "rollback_restore_readiness_timeout": 60,
            "gitlab_upgrade_hosts": self.host,
            **variables,
        }
        return ["gitlab_fleet.upgrade.rollback", "-e", json.dumps(values)]

    def run(self, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        book, *rest = self.arguments(**variables)
        return self._fleet.play(book, *options, *rest)

    @contextlib.contextmanager
    def running(self, path: Path, **variables: t.Any) -> t.Iterator[Path]:
        """Run it in the background, kill it without a warning at the end of the block, and yield the file of its output."""
        output = path / "output"
        with output.open("w") as file:
            process = subprocess.Popen(
                ["ansible-playbook", "-i", str(self._fleet._inventory), *self.arguments(**variables)],
                env={**self._fleet._environment, "PYTHONUNBUFFERED": "1", "ROLLBACK_RUN": str(path)},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield output
            finally:
                kill_all_of(str(path))
                process.wait()


def kill_all_of(mark: str) -> None:
    """Kill the processes that have the mark of one run in their environment: ansible-playbook's workers are in sessions of their own."""
    wanted = f"ROLLBACK_RUN={mark}\0".encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if wanted in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def wait_for(output: Path, text: str, seconds: int = 180) -> None:
    """Wait until the output has a text."""
    for _attempt in range(seconds * 5):
        if text in output.read_text():
            return
        time.sleep(0.2)
    raise AssertionError(f"no {text!r} in\n{output.read_text()}")


def stable(digest: str, moving: t.Sequence[str]) -> list[str]:
    """Return the lines of a digest that nothing changes while the instance serves."""
    return [line for line in digest.splitlines() if not any(word in line for word in moving)]


def assert_as_before(
    fleet: Instances, host: str, version: str = OLD, moving: t.Sequence[str] = MOVING, digest: str = "/root/digest"
) -> None:
    """Check by other means than the collection's that everything is as it was when the backup was made."""
    before, after = (stable(fleet.sh(host, command), moving) for command in (f"cat {digest}", DIGEST))
    assert before == after, sorted(set(before) ^ set(after))
    assert len(before) > 20
    assert fleet.sh(host, "cat /opt/gitlab/embedded/service/gitlab-rails/VERSION") == version
    assert fleet.sh(host, "dpkg-query -W -f '${db:Status-Status} ${Version}' gitlab-ee") == f"installed {version}.0"
    assert " down " not in fleet.sh(host, "gitlab-rake db:migrate:status")
    fleet.await_ready(host)
    states = fleet.sh(host, "gitlab-ctl status").splitlines()
    assert all(line.startswith("run: ") for line in states), states
    assert fleet.sh(host, "find /etc/gitlab -name 'skip-*'") == ""
    # Nothing keeps a service down at the next boot.
    assert fleet.sh(host, "find /opt/gitlab/sv -name 'down*'") == ""
    assert fleet.sh(host, "find /var/lib/gitlab_fleet_upgrade -maxdepth 1 -name '*.json'") == ""
