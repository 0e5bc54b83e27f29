# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gitlab_services on a host with real services under runit."""

from __future__ import annotations

import json
import typing as t

import pytest
from instances import Instances

HOST = "services-1"
RECORD = "/var/lib/gitlab_fleet_upgrade/services.json"
DOWN_FILES = "/opt/gitlab/sv/*/down"
BROKEN = "#!/bin/sh\\necho broken by a test >&2\\nexit 1\\n"


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Instances]:
    with Instances.fleet("services") as instances:
        instances.up({HOST: "gitlab-14.2.7"})
        yield instances


@pytest.fixture
def node(fleet: Instances) -> t.Iterator[Instances]:
    """The host with all services running and no record, whatever a test leaves behind."""
    yield fleet
    fleet.sh(
        HOST,
        f"rm -f {RECORD} {DOWN_FILES}; for s in puma sidekiq; do [ ! -e /opt/gitlab/sv/$s/run.kept ]"
        " || mv /opt/gitlab/sv/$s/run.kept /opt/gitlab/sv/$s/run; done; gitlab-ctl start",
    )


def services(node: Instances, state: str, *names: str, **options: t.Any) -> dict[str, t.Any]:
    if names:
        options["name"] = list(names)
    return node.run(HOST, "gitlab_services", state=state, **options)


def pids(node: Instances) -> dict[str, str]:
    """The process of each service, asked from runit itself."""
    text = node.sh(HOST, "for d in /opt/gitlab/service/*; do echo $(basename $d) $(cat $d/supervise/pid); done")
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()}


def record(node: Instances) -> dict[str, bool] | None:
    text = node.sh(HOST, f"cat {RECORD} 2>/dev/null || echo null")
    return t.cast("dict[str, bool] | None", json.loads(text))


def down_files(node: Instances) -> list[str]:
    """The services that have a file by which runit does not start them at boot."""
    return node.sh(HOST, f"for f in {DOWN_FILES}; do [ ! -e $f ] || basename $(dirname $f); done").split()


def reboot(node: Instances) -> dict[str, str]:
    """Restart the host, and return the processes of its services once all that are to come up have done so."""
    node.call("reboot", HOST)
    ready = "for d in /opt/gitlab/service/*; do [ -e $d/down ] || sv check $d >/dev/null || exit 1; sv status $d; done"
    node.sh(HOST, f"for n in $(seq 60); do ({ready}) && exit 0; sleep 1; done; exit 1")
    return pids(node)


def break_service(node: Instances, name: str) -> None:
    run = f"/opt/gitlab/sv/{name}/run"
    node.sh(HOST, f"mv {run} {run}.kept; printf '{BROKEN}' > {run}; chmod 755 {run}")


def mend_service(node: Instances, name: str) -> None:
    node.sh(HOST, f"mv /opt/gitlab/sv/{name}/run.kept /opt/gitlab/sv/{name}/run")


def test_stopped_services_come_back_and_nothing_else_is_touched(node: Instances) -> None:
    before = pids(node)

    result = services(node, "stopped", "puma", "sidekiq", remember=True)
    assert result["changed"]
    assert not result["failed"]
    stopped = pids(node)
    assert (stopped["puma"], stopped["sidekiq"]) == ("", "")
    assert {name: pid for name, pid in stopped.items() if pid} == {
        name: pid for name, pid in before.items() if name not in ("puma", "sidekiq")
    }
    assert result["remembered"] == record(node) == {"puma": True, "sidekiq": True}
    assert node.sh(HOST, f"stat -c '%a %U' {RECORD} $(dirname {RECORD})") == "600 root\n700 root"
    assert result["diff"] == {
        "before": {"puma": "run", "sidekiq": "run"},
        "after": {"puma": "down", "sidekiq": "down"},
    }
    assert [argv[1:] for argv in result["commands"]] == [["status"], ["stop", "puma"], ["stop", "sidekiq"], ["status"]]

    again = services(node, "stopped", "puma", "sidekiq", remember=True)
    assert not again["changed"]
    assert record(node) == {"puma": True, "sidekiq": True}

    restored = services(node, "restored")
    assert restored["changed"]
    assert restored["services"]["puma"]["state"] == restored["services"]["sidekiq"]["state"] == "run"
    assert record(node) is None
    running = pids(node)
    assert running["puma"]
    assert running["sidekiq"]
    assert running["redis"] == before["redis"]

    assert not services(node, "restored")["changed"]
    assert pids(node) == running


def test_a_service_that_was_down_stays_down(node: Instances) -> None:
    node.sh(HOST, "gitlab-ctl stop sidekiq")
    services(node, "stopped", "puma", "sidekiq", remember=True)
    assert record(node) == {"puma": True, "sidekiq": False}
    result = services(node, "restored")
    assert result["services"]["puma"]["state"] == "run"
    assert result["services"]["sidekiq"]["state"] == "down"
    assert record(node) is None


def test_what_an_interrupted_run_put_away_is_not_forgotten(node: Instances) -> None:
    services(node, "stopped", "puma", remember=True)
    services(node, "stopped", "puma", "sidekiq", remember=True)
    assert record(node) == {"puma": True, "sidekiq": True}
    services(node, "restored", "sidekiq")
    assert record(node) == {"puma": True}
    services(node, "started", "puma")
    assert record(node) is None


def test_services_stay_down_over_a_reboot_until_they_are_restored(node: Instances) -> None:
    names = ["puma", "sidekiq", "nginx"]
    # What an operator has decided holds also when the service is stopped and started for a while.
    node.sh(HOST, "touch /opt/gitlab/sv/nginx/down")
    wanted = {"name": names, "state": "stopped", "remember": True, "stay_down": True}
    (planned,) = node.run_each(HOST, "gitlab_services", [wanted], check=True)
    assert planned["changed"]
    assert (down_files(node), record(node)) == (["nginx"], None)

    stopped, again = node.run_each(HOST, "gitlab_services", [wanted, wanted])
    assert stopped["changed"]
    assert not again["changed"]
    assert {name: again["services"][name]["down_file"] for name in (*names, "redis")} == {
        "puma": "ours",
        "sidekiq": "ours",
        "nginx": "foreign",
        "redis": None,
    }
    assert stopped["diff"]["before"]["puma at boot"] == "starts"
    assert stopped["diff"]["after"] == {
        **dict.fromkeys(names, "down"),
        **dict.fromkeys(["puma at boot", "sidekiq at boot"], "stays down"),
    }
    running = reboot(node)
    assert [name for name, pid in running.items() if not pid] == sorted(names)
    assert record(node) == dict.fromkeys(names, True)

    restored = services(node, "restored")
    assert not restored["failed"]
    assert all(restored["services"][name]["state"] == "run" for name in names)
    assert (down_files(node), record(node)) == (["nginx"], None)
    running = reboot(node)
    assert [name for name, pid in running.items() if not pid] == ["nginx"]


def test_a_run_that_broke_off_at_any_point_is_put_right_by_the_next(node: Instances) -> None:
    services(node, "stopped", "puma", "sidekiq", "gitaly", remember=True, stay_down=True)
    # Gitaly: only the record was written. Sidekiq: nothing was stopped yet. Puma: its file was removed, and it was not started yet.
    node.sh(
        HOST,
        "rm /opt/gitlab/sv/gitaly/down /opt/gitlab/sv/puma/down; gitlab-ctl start gitaly; gitlab-ctl start sidekiq",
    )
    result = services(node, "restored")
    assert result["changed"]
    assert all(result["services"][name]["state"] == "run" for name in ("puma", "sidekiq", "gitaly"))
    assert (down_files(node), record(node)) == ([], None)

    # Also where the record was lost.
    services(node, "stopped", "sidekiq", remember=True, stay_down=True)
    node.sh(HOST, f"rm {RECORD}")
    assert services(node, "started", "sidekiq")["services"]["sidekiq"]["down_file"] is None


def test_check_mode_reads_all_and_changes_nothing(node: Instances) -> None:
    before = pids(node)
    for state in ("stopped", "restarted"):
        result = services(node, state, "puma", "sidekiq", check=True)
        assert result["changed"]
        verb = {"stopped": "stop", "restarted": "restart"}[state]
        assert [argv[1:] for argv in result["commands"]] == [["status"], [verb, "puma"], [verb, "sidekiq"]]
    remembered = services(node, "stopped", "puma", remember=True, check=True)
    assert remembered["remembered"] == {}
    assert record(node) is None
    assert pids(node) == before


def test_a_restarted_service_is_another_process(node: Instances) -> None:
    before = pids(node)
    result = services(node, "restarted", "sidekiq")
    after = pids(node)
    assert result["changed"]
    assert after.pop("sidekiq") != before.pop("sidekiq")
    assert after == before


def test_a_service_that_dies_at_once_is_a_failure_that_names_it(node: Instances) -> None:
    services(node, "stopped", "puma", "sidekiq", remember=True)
    break_service(node, "puma")
    result = services(node, "restored", timeout=8)
    assert result["failed"]
    assert "puma" in result["msg"]
    assert "sidekiq" not in result["msg"]
    assert "gitlab-ctl tail puma" in result["remedy"]
    assert result["services"]["sidekiq"]["state"] == "run"
    assert record(node) == {"puma": True, "sidekiq": True}

    mend_service(node, "puma")
    assert not services(node, "restored")["failed"]
    assert record(node) is None


def test_services_that_the_node_does_not_have_are_named(node: Instances) -> None:
    before = pids(node)
    result = services(node, "started", "praefect", "puma")
    assert not result["failed"]
    assert result["absent"] == ["praefect"]
    required = services(node, "stopped", "praefect", "puma", required=True)
    assert required["failed"]
    assert "praefect" in required["msg"]
    assert pids(node) == before


def test_a_damaged_record_stops_everything(node: Instances) -> None:
    before = pids(node)
    node.sh(HOST, f"mkdir -p $(dirname {RECORD}); printf '{{' > {RECORD}")
    for state in ("stopped", "restored"):
        result = services(node, state, "puma")
        assert result["failed"]
        assert RECORD in result["msg"]
    assert pids(node) == before


REFUSED: list[tuple[dict[str, t.Any], str]] = [
    ({"state": "started"}, "name"),
    ({"state": "started", "name": ["puma"], "remember": True}, "remember has no meaning"),
    ({"state": "stopped", "name": ["puma"], "stay_down": True}, "remember: true"),
    ({"state": "read", "name": ["puma"]}, "state"),
    ({"state": "stopped", "name": ["puma"], "install_type": "source"}, "gitlab-ctl"),
]


def test_bad_input_changes_nothing(node: Instances) -> None:
    before = pids(node)
    results = node.run_each(HOST, "gitlab_services", [options for options, _said in REFUSED])
    for (options, said), result in zip(REFUSED, results, strict=True):
        assert result["failed"], options
        assert said in result["msg"], options
    assert pids(node) == before
