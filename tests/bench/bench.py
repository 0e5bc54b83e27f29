# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures the collection beside other ways of doing the same, in one run, and prints ratios. Needs root.

The numbers are of the machine it runs on, with all hosts on that one machine; only the ratios mean something elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import typing as t
from pathlib import Path

HERE = Path(__file__).resolve().parent
INTEGRATION = HERE.parent / "integration"
sys.path[:0] = [str(HERE), str(INTEGRATION / "support"), str(INTEGRATION / "long_jobs")]

import backup_cost  # noqa: E402
import finalizing_many  # noqa: E402
import fleet_reading  # noqa: E402
import jobs_tables  # noqa: E402

BENCHMARKS: dict[str, t.Callable[[argparse.Namespace], t.Iterator[str]]] = {
    "fleet": lambda options: fleet_reading.run(options.hosts, options.forks, options.rounds),
    "jobs": lambda options: jobs_tables.run(options.jobs, options.rounds),
    "backup": lambda options: backup_cost.run(options.rounds),
    "finalize": lambda options: finalizing_many.run(options.rounds),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--hosts", type=int, nargs="+", default=[10, 40], help="fleet: numbers of instances")
    parser.add_argument("--forks", type=int, default=10, help="fleet: how many at a time")
    parser.add_argument(
        "--jobs", type=int, nargs="+", default=[1_000, 100_000, 5_000_000], help="jobs: sizes of the table"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is measured; the middle one counts")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    for name in options.names or BENCHMARKS:
        for line in BENCHMARKS[name](options):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
