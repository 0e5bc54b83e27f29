# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test hosts themselves: real namespaces, real SSH, real power losses.

They run as root, and as a user without root where user namespaces are allowed.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import time
import typing as t

import pytest
import yaml

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "mini_gitlab" / "fleet.py"
DATA = "/srv/data"
AS_POSTGRES = "setpriv --reuid postgres --regid postgres --init-groups"
BIN = "/usr/lib/postgresql/15/bin"


class Fleet:
    """The command line, with a fleet of its own."""

    def __init__(self, name: str, directory: pathlib.Path | None = None) -> None:
        self.name = name
        self.environment = {**os.environ, "MINI_GITLAB_FLEET": name}
        if directory is not None:
            self.environment["MINI_GITLAB_DIR"] = str(directory)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command of its own process group, that ``kill`` ends half-way."""
        return subprocess.Popen([PROGRAM, *arguments], env=self.environment, text=True, start_new_session=True)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments], env=self.environment, text=True, capture_output=True, input=stdin, check=False
        )

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sh(self, name: str, script: str) -> str:
        return self("exec", name, "--", "sh", "-euc", script).strip()

    def inventory(self) -> dict[str, t.Any]:
        return yaml.safe_load(self("inventory"))["all"]

    def ssh(self, name: str, script: str, seconds: int = 5) -> subprocess.CompletedProcess[str]:
        inventory = self.inventory()
        options = inventory["vars"]["ansible_ssh_common_args"].split()
        key = inventory["vars"]["ansible_ssh_private_key_file"]
        address = inventory["hosts"][name]["ansible_host"]
        command = ["ssh", "-F", "none", "-i", key, *options, "-o", f"ConnectTimeout={seconds}", "-o", "BatchMode=yes"]
        return self.run("shell", "--", *command, f"root@{address}", script)

    def interfaces(self) -> set[str]:
        return {link["ifname"] for link in json.loads(self("shell", "--", "ip", "-j", "link"))}

    def states(self) -> dict[str, str]:
        return {line.split()[0]: line.split()[1] for line in self("ps").splitlines()}

    def pid(self, name: str) -> int:
        return next(int(line.split()[2]) for line in self("ps").splitlines() if line.split()[0] == name)

    def bridge(self) -> str | None:
        """The bridge that the status shows for this fleet; None when there is no such fleet."""
        lines = [line.split() for line in self("status").splitlines()]
        return next((line[3] for line in lines if line[:2] == ["fleet", self.name]), None)


@pytest.fixture(scope="module", autouse=True)
def _base() -> None:
    Fleet("default")("base")


@pytest.fixture
def fleet() -> t.Iterator[Fleet]:
    fleet = Fleet(f"test-{os.getpid()}")
    yield fleet
    fleet("down")


@pytest.fixture
def image(fleet: Fleet) -> t.Iterator[str]:
    """A name for an image, removed after the fleet is."""
    name = f"test-{os.getpid()}"
    yield name
    fleet("down")
    if f"{name} <" in fleet("images"):
        fleet("rmimage", name)


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(condition: t.Callable[[], object], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def start_database(fleet: Fleet, name: str) -> None:
    fleet.sh(
        name,
        f"[ -d {DATA} ] || {{ install -d -o postgres {DATA}; {AS_POSTGRES} {BIN}/initdb -D {DATA} -A trust -N >&2; }}\n"
        f"{AS_POSTGRES} {BIN}/pg_ctl -D {DATA} -o '-k {DATA}' -l {DATA}/log -w start >&2",
    )


def sql(fleet: Fleet, name: str, statement: str) -> str:
    return fleet.sh(name, f'{AS_POSTGRES} {BIN}/psql -h {DATA} -XAtqc "{statement}"')


def cluster_state(fleet: Fleet, name: str) -> str:
    return fleet.sh(name, f"{BIN}/pg_controldata {DATA} | sed -n 's/^Database cluster state: *//p'")


def test_three_hosts_answer_over_ssh_and_know_each_other(fleet: Fleet) -> None:
    fleet("up", "acme-1", "acme-2", "beta.example")
    addresses = {name: host["ansible_host"] for name, host in fleet.inventory()["hosts"].items()}
    assert len(set(addresses.values())) == 3
    for name in addresses:
        seen = fleet.ssh(name, "hostname; id -u; cat /proc/1/comm; getent hosts beta | cut -d' ' -f1")
        assert seen.stdout.split() == [name, "0", "init", addresses["beta.example"]], seen.stderr
    # From host to host, over the fleet's own network.
    assert fleet.sh("acme-1", "ssh-keyscan acme-2 2>/dev/null").startswith("acme-2 ")


def test_ansible_reaches_the_hosts_with_the_printed_inventory(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    fleet("up", "a", "b")
    (tmp_path / "hosts.yml").write_text(fleet("inventory"))
    fleet.environment |= {"ANSIBLE_LOCAL_TEMP": str(tmp_path), "LC_ALL": "C.UTF-8"}
    command = ["ansible", "all", "-i", str(tmp_path / "hosts.yml"), "-m", "ansible.builtin.command", "-a", "hostname"]
    done = fleet.run("shell", "--", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"a", "b"} <= set(done.stdout.split("\n"))


def test_commands_pass_through_exec(fleet: Fleet) -> None:
    fleet("up", "a")
    done = fleet.run("exec", "a", "--", "sh", "-c", "cat; echo complaint >&2; exit 7", stdin="question")
    assert (done.returncode, done.stdout, done.stderr) == (7, "question", "complaint\n")
    assert fleet.run("exec", "a", "--", "sh", "-c", "kill -KILL $$").returncode == -signal.SIGKILL


def test_push_copies_files_and_directories(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    fleet("up", "a")
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "tool").write_text("#!/bin/sh\necho tool ran\n")
    (tree / "bin" / "tool").chmod(0o750)
    fleet("push", "a", str(tree), "/opt/new/tree")
    fleet("push", "a", str(tree / "bin" / "tool"), "/opt/one file")
    assert fleet.sh("a", "/opt/new/tree/bin/tool; stat -c '%a %U' '/opt/one file'").split("\n") == [
        "tool ran",
        "750 root",
    ]
    assert fleet.run("push", "a", str(tmp_path / "nothing"), "/x").returncode == 1


def test_a_reboot_keeps_files_but_neither_processes_nor_run(fleet: Fleet) -> None:
    fleet("up", "a", "b")
    fleet.sh("a", "echo kept >/root/file; touch /run/gone /tmp/gone; setsid sleep 600 >/dev/null 2>&1 &")
    before = fleet.pid("a")
    fleet("reboot", "a")
    assert fleet.pid("a") != before
    assert fleet.ssh("a", "cat /root/file; ls /run/gone /tmp/gone 2>/dev/null; pgrep sleep").stdout == "kept\n"
    # Its neighbours reach it again at once.
    assert fleet.sh("b", "ssh-keyscan -T 2 a 2>/dev/null").startswith("a ")


def test_a_stop_lets_a_database_stop_cleanly_and_a_power_loss_does_not(fleet: Fleet) -> None:
    fleet("up", "a")
    start_database(fleet, "a")
    sql(fleet, "a", "create table t as select 1 as x")
    assert fleet.run("stop", "a").stderr == ""
    assert fleet.states() == {"a": "off"}
    fleet("start", "a")
    assert cluster_state(fleet, "a") == "shut down"

    start_database(fleet, "a")
    sql(fleet, "a", "insert into t values (2)")
    fleet("kill", "a")
    assert fleet.states() == {"a": "off"}
    fleet("start", "a")
    assert cluster_state(fleet, "a") == "in production"
    fleet.sh("a", f"rm -f {DATA}/postmaster.pid")
    start_database(fleet, "a")
    assert sql(fleet, "a", "select count(*) from t") == "2"


def test_a_host_that_will_not_shut_down_is_killed_and_said_to_be(fleet: Fleet) -> None:
    fleet("up", "a")
    fleet.sh("a", "(trap '' TERM; while :; do sleep 1; done) >/dev/null 2>&1 &")
    began = time.monotonic()
    fleet("stop", "a")
    assert 8 < time.monotonic() - began < 15
    assert fleet.states() == {"a": "off"}


def test_a_killed_host_is_unreachable_and_leaves_no_process(fleet: Fleet) -> None:
    fleet("up", "a", "b")
    fleet.sh("a", "setsid sleep 98765 >/dev/null 2>&1 &")
    fleet("kill", "a")
    assert fleet.ssh("a", "true", seconds=2).returncode == 255
    assert fleet.ssh("b", "true").returncode == 0
    assert subprocess.run(["pgrep", "-f", "sleep 98765"], check=False).returncode == 1
    assert fleet.run("exec", "a", "--", "true").stderr.strip().endswith("start a")


def test_a_cut_cable_lets_connections_time_out_until_it_is_mended(fleet: Fleet) -> None:
    fleet("up", "a", "b")
    assert fleet.ssh("a", "true").returncode == 0
    fleet("cut", "a")
    assert fleet.states() == {"a": "cut", "b": "running"}
    lost = fleet.ssh("a", "true", seconds=2)
    assert lost.returncode == 255
    assert "timed out" in lost.stderr
    assert fleet.sh("b", "ssh-keyscan -T 1 a 2>/dev/null || :") == ""
    assert fleet.sh("a", "hostname") == "a"
    fleet("reboot", "a")
    assert fleet.ssh("a", "true", seconds=2).returncode == 255
    fleet("mend", "a")
    assert fleet.ssh("a", "true").returncode == 0
    assert fleet.sh("b", "ssh-keyscan -T 2 a 2>/dev/null").startswith("a ")


def test_hosts_start_from_an_image_and_write_apart(fleet: Fleet, image: str) -> None:
    fleet("up", "a")
    start_database(fleet, "a")
    sql(fleet, "a", "create table t as select generate_series(1, 1000) as x")
    assert "stop a first" in fleet.run("image", "a", image).stderr
    fleet("stop", "a")
    fleet("image", "a", image)
    assert "already" in fleet.run("image", "a", image).stderr

    fleet("up", "--image", image, "b", "c")
    fleet("start", "a")
    for name in ("a", "b", "c"):
        start_database(fleet, name)
    sql(fleet, "b", "delete from t where x > 10")
    assert [sql(fleet, name, "select count(*) from t") for name in ("a", "b", "c")] == ["1000", "10", "1000"]
    assert fleet.sh("b", "hostname; grep -c fleet /etc/hosts").split() == ["b", "3"]
    assert "in use" in fleet.run("rmimage", image).stderr


def test_images_stack_and_keep_removals(fleet: Fleet, image: str) -> None:
    upper = f"{image}-upper"
    fleet("up", "a")
    fleet.sh(
        "a",
        "mkdir -p /srv/d/old; echo 1 >/srv/d/old/file; echo 1 >/srv/base; rm /etc/debian_version",
    )
    fleet("stop", "a")
    fleet("image", "a", image)
    fleet("start", "a")
    fleet.sh("a", "rm -r /srv/d; mkdir /srv/d; echo 2 >/srv/d/new; echo 2 >>/srv/base")
    fleet("stop", "a")
    fleet("image", "a", upper)
    try:
        assert fleet("images").count(f"{upper} < {image} < base ") == 1
        fleet("up", "--image", upper, "b")
        assert fleet.sh("b", "ls -A /srv/d; cat /srv/base; ls /etc/debian_version 2>/dev/null || :").split() == [
            "new",
            "1",
            "2",
        ]
        fleet("up", "--image", image, "c")
        assert fleet.sh("c", "ls -A /srv/d; cat /srv/base").split() == ["old", "1"]
        fleet("down")
        assert "in use" in fleet.run("rmimage", image).stderr
    finally:
        fleet("down")
        fleet("rmimage", upper)


def test_init_respawns_what_inittab_lists_and_reaps_orphans(fleet: Fleet) -> None:
    fleet("up", "a")
    service = "mkdir -p /srv/sv/x; printf '#!/bin/sh\nexec sleep 4321\n' >/srv/sv/x/run; chmod +x /srv/sv/x/run"
    fleet.sh("a", f"{service}; echo 'SV:123456:respawn:/usr/bin/runsvdir /srv/sv' >/etc/inittab; kill -HUP 1")
    assert until(lambda: fleet.sh("a", "pgrep -fx 'sleep 4321' || :"))
    first = fleet.sh("a", "pgrep -x runsvdir")
    fleet.sh("a", "kill -KILL $(pgrep -x runsvdir)")
    assert until(lambda: fleet.sh("a", "pgrep -x runsvdir || :") not in ("", first))
    fleet("reboot", "a")
    assert until(lambda: fleet.sh("a", "sv status /srv/sv/x || :").startswith("run:"))
    fleet.sh("a", "sed -i s/^SV/#SV/ /etc/inittab; init q")
    assert until(lambda: fleet.sh("a", "pgrep -x runsvdir || :") == "")
    fleet.sh("a", "for i in 1 2 3; do (setsid sleep 0.1 &); done")
    assert until(lambda: "Z" not in fleet.sh("a", "ps -eo stat="))


def test_nothing_of_the_creator_reaches_the_services(fleet: Fleet) -> None:
    fleet.environment["RUBYOPT"] = "-W0"
    # nohup ignores HUP, and what a shell finds ignored it can never again trap.
    subprocess.run(["nohup", PROGRAM, "up", "a"], env=fleet.environment, check=True, umask=0o077)
    assert set(fleet.sh("a", "tr '\\0' '\\n' </proc/1/environ").split()) == {
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    }
    fleet.sh("a", "echo 'SV:2345:respawn:/bin/sleep 5432' >/etc/inittab; kill -HUP 1")
    assert until(lambda: fleet.sh("a", "pgrep -fx '/bin/sleep 5432' || :"))
    seen = fleet.ssh("a", "umask; for p in self $(pgrep -x sleep); do grep SigIgn /proc/$p/status; done").stdout.split()
    assert (seen[0], len(seen)) == ("0022", 5)
    # 32 and 33 are the C library's own; no program can set them.
    assert [int(mask, 16) & ~(0b11 << 31) for mask in (seen[2], seen[4])] == [0, 0]


def test_bound_directories_are_read_only_and_survive_a_reboot(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Release").write_text("one\n")
    fleet("up", "a", "--bind", f"{tmp_path}:/srv/gitlab-repo")
    (tmp_path / "Release").write_text("two\n")
    fleet("reboot", "a")
    assert fleet.sh("a", "cat /srv/gitlab-repo/Release") == "two"
    assert "Read-only" in fleet.run("exec", "a", "--", "touch", "/srv/gitlab-repo/x").stderr
    assert fleet.run("up", "b", "--bind", f"{tmp_path}/nothing:/srv/x").returncode == 1
    assert fleet.states() == {"a": "running"}


def test_a_host_cannot_change_the_machine(fleet: Fleet) -> None:
    fleet("up", "a")
    for attempt in ("echo 1 >/proc/sys/vm/swappiness", "date --set=@0"):
        assert fleet.ssh("a", attempt).returncode == 1, attempt
    assert fleet.ssh("a", "hostname changed").returncode == 0
    assert os.uname().nodename != "changed"


def test_no_daemon_starts_by_itself(fleet: Fleet) -> None:
    fleet("up", "a")
    assert set(fleet.sh("a", "ps -eo comm=").split()) <= {"init", "sshd", "sh", "ps"}
    # What a package's own scripts call after its installation.
    fleet.sh("a", "invoke-rc.d redis-server start")
    assert fleet.sh("a", "pgrep redis || :") == ""


@pytest.mark.parametrize("attempt", range(6))
def test_what_a_killed_creator_leaves_is_taken_up_again(fleet: Fleet, attempt: int) -> None:
    names = [f"n{number}" for number in range(5)]
    creator = fleet.start("up", *names)
    time.sleep(random.Random(attempt).uniform(0.05, 0.6))
    kill(creator)
    fleet("up", *names)
    assert fleet.states() == dict.fromkeys(names, "running")
    assert [fleet.ssh(name, "hostname").stdout.strip() for name in names] == names


def test_down_removes_everything_that_a_killed_creator_left(fleet: Fleet) -> None:
    bridges = set()
    for delay in (0.1, 0.2, 0.3, 0.4):
        creator = fleet.start("up", "x", "y")
        time.sleep(delay)
        kill(creator)
        bridges.add(fleet.bridge())
        fleet("down")
        assert fleet.bridge() is None
        assert until(lambda: subprocess.run(["pgrep", "-f", f"fleets/{fleet.name}/"], check=False).returncode == 1)
    assert bridges != {None}, "each creator was killed before it made anything"
    left = [name for name in fleet.interfaces() if name.partition("h")[0] in bridges]
    assert left == []
    assert fleet.name not in pathlib.Path("/proc/self/mountinfo").read_text()


def test_a_host_that_ended_by_itself_is_off_and_starts_again(fleet: Fleet) -> None:
    fleet("up", "a")
    fleet.sh("a", "echo kept >/root/file")
    fleet("shell", "--", "kill", "-KILL", str(fleet.pid("a")))
    assert until(lambda: fleet.states() == {"a": "off"})
    fleet("up", "a")
    assert fleet.sh("a", "cat /root/file") == "kept"


def test_files_that_a_crash_of_the_machine_may_have_torn_are_not_used(fleet: Fleet) -> None:
    fleet("up", "a")
    state = next(line.split()[1] for line in fleet("status").splitlines() if line.startswith("state "))
    record = pathlib.Path(state, "fleets", fleet.name, "hosts", "a", "host.json")
    fleet("shell", "--", "kill", "-KILL", str(fleet.pid("a")))
    assert until(lambda: fleet.states() == {"a": "off"})
    host = json.loads(record.read_text())
    host["process"]["boot"] = "an earlier one"
    record.write_text(json.dumps(host))
    assert "restarted while a ran" in fleet.run("up", "a").stderr
    fleet("down", "a")
    fleet("up", "a")


def test_hosts_come_and_go_and_the_others_know(fleet: Fleet) -> None:
    fleet("up", "a", "b")
    fleet.sh("a", "echo '192.0.2.7 mine' >>/etc/hosts; chmod 640 /etc/hosts")
    fleet("up", "a", "c")
    names = "getent hosts mine b c localhost | wc -l; stat -c %a /etc/hosts"
    assert fleet.sh("a", names).split() == ["4", "640"]
    fleet("down", "b")
    assert fleet.states() == {"a": "running", "c": "running"}
    assert fleet.sh("a", "getent hosts b || echo unknown; getent hosts mine").split() == [
        "unknown",
        "192.0.2.7",
        "mine",
    ]
    assert "has no host b" in fleet.run("stop", "b").stderr


def test_commands_on_one_fleet_wait_for_each_other(fleet: Fleet) -> None:
    both = [fleet.start("up", "a", "b"), fleet.start("up", "b", "c")]
    assert [process.wait() for process in both] == [0, 0]
    assert fleet.states() == dict.fromkeys(["a", "b", "c"], "running")
    assert len({host["ansible_host"] for host in fleet.inventory()["hosts"].values()}) == 3


def test_fleets_live_side_by_side() -> None:
    fleets = [Fleet(f"test-{os.getpid()}-{number}") for number in range(2)]
    try:
        assert [process.wait() for process in [fleet.start("up", "a", "b") for fleet in fleets]] == [0, 0]
        first, second = ({host["ansible_host"] for host in fleet.inventory()["hosts"].values()} for fleet in fleets)
        assert not first & second
        fleets[0].sh("a", "echo mine >/root/file")
        assert fleets[1].run("exec", "a", "--", "cat", "/root/file").returncode == 1
        fleets[0]("down")
        assert fleets[1].ssh("a", "hostname").stdout == "a\n"
    finally:
        for fleet in fleets:
            fleet("down")


def test_twenty_hosts_come_up_in_less_than_15_seconds(fleet: Fleet) -> None:
    names = [f"n{number:02}" for number in range(20)]
    began = time.monotonic()
    fleet("up", *names)
    assert time.monotonic() - began < 15
    assert [fleet.ssh(name, "hostname").stdout.strip() for name in names] == names


def test_a_directory_with_other_things_is_refused_and_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "precious").write_text("mine")
    foreign = Fleet("default", tmp_path)
    for command in (["up", "a"], ["down"], ["base"]):
        done = foreign.run(*command)
        assert done.returncode == 1
        assert "holds other things" in done.stderr
    assert os.listdir(tmp_path) == ["precious"]


def test_two_stores_share_the_machine(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    fleet("up", "a")
    other = Fleet("default", tmp_path / "store")
    assert "run fleet.py base" in other.run("up", "a").stderr
    other("down")
    assert fleet.ssh("a", "true").returncode == 0
