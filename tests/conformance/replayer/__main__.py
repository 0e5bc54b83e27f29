# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m replayer ASSEMBLED RECORDINGS WORK [NAME...]

Plays recordings, two at a time, and prints one JSON object: name to outcome. As root.
"""

from __future__ import annotations

import concurrent.futures
import json
import queue
import sys
import time
import traceback
from pathlib import Path

from . import templates
from .application import Application
from .cluster import Cluster, Row
from .player import Player

AT_A_TIME = 2
# Those that mostly wait begin first, so that the others run beside them.
LONG = (
    "finalize_sigkill_then_rerun",
    "finalize_busy_wait_cpu",
    "finalize_while_worker",
    "wait_",
    "worker_over",
    "finalize_sig",
    "finalize_optimizer",
)


def order(recording: Row) -> int:
    return next((place for place, prefix in enumerate(LONG) if recording["name"].startswith(prefix)), len(LONG))


def play(players: queue.SimpleQueue[Player], recording: Row) -> Row:
    player = players.get()
    started = time.monotonic()
    try:
        return player.play(recording)
    except Exception:
        return {"name": recording["name"], "error": traceback.format_exc()}
    finally:
        print(f"{time.monotonic() - started:5.1f} s  {recording['name']}", file=sys.stderr)
        players.put(player)


def main(arguments: list[str]) -> int:
    assembled, recordings, work = (Path(argument) for argument in arguments[:3])
    names = arguments[3:] or [path.stem for path in sorted(recordings.glob("*.json"))]
    chosen = sorted((json.loads((recordings / f"{name}.json").read_text()) for name in names), key=order)
    cluster = Cluster(work / "cluster")
    cluster.start()
    try:
        applications = [Application(assembled, work / f"app{number}", cluster.socket) for number in range(AT_A_TIME)]
        templates.make(cluster, applications[0])
        players: queue.SimpleQueue[Player] = queue.SimpleQueue()
        for number, application in enumerate(applications):
            players.put(Player(cluster, application, number))
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            outcomes = list(pool.map(lambda recording: play(players, recording), chosen))
    finally:
        cluster.stop()
    json.dump({outcome["name"]: outcome for outcome in outcomes}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
