# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the newest versions that go together and write them down: tests/requirements/*.in to *.txt.

Each line of ansible-core is resolved with the oldest Python it runs on, and the tools with the oldest that runs them,
because what installs there also installs on the newer ones. Needs those interpreters.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from interpreters import CORE_LINES, find_all, text

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
HEADER = "# SPDX-License-Identifier: GPL-3.0-or-later\n# Written by: make pins. {purpose}\n"
TOOLS_CORE = "2.19"


def resolve(interpreter: str, *requirements: str) -> list[str]:
    """Install into an empty environment and return what is there, as pins."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([interpreter, "-m", "venv", directory], check=True)
        pip = [f"{directory}/bin/python", "-m", "pip"]
        subprocess.run([*pip, "install", "-qq", "--no-input", *requirements], check=True)
        frozen = subprocess.run([*pip, "freeze"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return sorted(frozen.splitlines(), key=str.lower)


def write(name: str, purpose: str, pins: list[str]) -> None:
    """Write one file of pins."""
    (REQUIREMENTS / name).write_text(HEADER.format(purpose=purpose) + "".join(f"{pin}\n" for pin in pins))
    print(f"{name}: {len(pins)} packages")


def main() -> int:
    interpreters = find_all(os.environ.get("USERS_PATH") or os.environ.get("PATH", os.defpath))
    absent = {oldest for oldest, _newest in CORE_LINES.values()} - interpreters.keys()
    if absent:
        print(f"Not found: {', '.join(f'Python {text(version)}' for version in sorted(absent))}", file=sys.stderr)
        return 1
    pins = {
        core: resolve(interpreters[oldest], f"ansible-core~={core}.0", "-r", str(REQUIREMENTS / "core.in"))
        for core, (oldest, _newest) in CORE_LINES.items()
    }
    for core, packages in pins.items():
        write(f"core-{core}.txt", f"What unit, sanity and integration need under ansible-core {core}.", packages)
    chosen = pins[TOOLS_CORE]
    tools = resolve(interpreters[CORE_LINES[TOOLS_CORE][0]], *chosen, "-r", str(REQUIREMENTS / "tools.in"))
    write(
        "tools.txt",
        "What lint, docs, build and molecule need beside core-*.txt.",
        sorted(set(tools) - set(chosen), key=str.lower),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
