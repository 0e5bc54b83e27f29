# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._sidekiq_waiting import SCRIPT, Waiting, parse

# What stands in redis-cli's place: two pages of the schedule, of which others' messages were left out by Redis.
CLIENT = r"""#!/bin/sh
case "$*" in
*--raw) sed -e 's/^LLEN .*background_migration$/3/' -e 's/^LLEN .*/1/' -e 's/^ZCARD .*/9/' ;;
*'ZSCAN resque:gitlab:schedule 0 '*) printf '7\n{"args":["A",[0]]}\n1.5\n{"args":["B",["x"]]}\n2\n' ;;
*'ZSCAN resque:gitlab:schedule 7 '*) printf '0\n{"args":["A",[1]]}\n9\n' ;;
*'ZSCAN resque:gitlab:retry 0 '*) printf '0\n\n' ;;
esac
"""


def ask(folder: Path, resque: str, client: str = CLIENT, **files: str) -> Waiting:
    (folder / "resque.yml").write_text(resque)
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text)
    (folder / "redis-cli").write_text(client)
    (folder / "redis-cli").chmod(0o755)
    here = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/sh", "-c", f'{SCRIPT}\nsidekiq_waiting "$1"', "sh", str(folder)],
        env=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return parse(done.stdout.split("\n"), done.returncode)


@pytest.fixture
def redis(tmp_path: Path) -> str:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.close()
    return str(tmp_path / "s")


@pytest.mark.parametrize("scheme", ["unix:", "unix://", '"unix:'])
def test_every_place_is_counted(tmp_path: Path, redis: str, scheme: str) -> None:
    url = f"{scheme}{redis}" + ('"' if scheme.startswith('"') else "")
    text = f"development:\n  url: redis://localhost:6379\nproduction:\n  # GitLab's\n  url: {url}\n"
    waiting = ask(tmp_path, text, gitlab="production:\n  sidekiq:\n    # routing_rules:\n    routing_rules: []\n")
    assert waiting.numbers == {"queued": 4, "scheduled": 3, "retrying": 0}


@pytest.mark.parametrize(
    ("url", "client", "files", "why"),
    [
        pytest.param("redis://:secret@10.0.0.3:6379", CLIENT, {}, "names no Redis on this host", id="elsewhere"),
        pytest.param("unix://:secret@{}", CLIENT, {}, "names no Redis on this host", id="a password in the address"),
        pytest.param("unix:{}", "#!/bin/sh\nexit 1\n", {}, "Redis does not answer", id="down"),
        pytest.param("unix:{}", "#!/bin/sh\necho NOAUTH\n", {}, "Redis does not answer", id="a password"),
        pytest.param(
            "unix:{}",
            CLIENT,
            {"redis.queues": "production:\n  url: redis://10.0.0.3\n"},
            "redis.queues.yml names no Redis on this host",
            id="the queues elsewhere",
        ),
        pytest.param(
            "unix:{}", CLIENT, {"gitlab": '    routing_rules: [["*","default"]]\n'}, "routing_rules", id="routed"
        ),
        pytest.param(
            "unix:{}", CLIENT, {"gitlab": "    routing_rules:\n      - [a, b]\n"}, "routing_rules", id="in lines"
        ),
    ],
)
def test_what_cannot_be_asked_is_no_number(
    tmp_path: Path, redis: str, url: str, client: str, files: dict[str, str], why: str
) -> None:
    waiting = ask(tmp_path, f"production:\n  url: {url.format(redis)}\n", client, **files)
    assert waiting.numbers is None
    assert why in waiting.why and "secret" not in waiting.why


@pytest.mark.parametrize(
    "lines", [[], ["queued 1"], ["queued 1", "scheduled x", "retrying 0"], ["queued", "scheduled 0", "retrying 0"]]
)
def test_an_answer_in_part_is_no_number(lines: list[str]) -> None:
    assert parse(lines, 0).numbers is None
