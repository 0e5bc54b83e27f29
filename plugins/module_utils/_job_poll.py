# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How the controller watches a job of :mod:`_job` by one small shell command, without a module and without Python there."""

from __future__ import annotations

import shlex
import typing as t

# At most so much of a log for each look; the rest comes with the next one.
CHUNK_BYTES = 65536

# Words: directory, file, offset, chunk. The start time is field 22 of /proc/PID/stat, the 20th after the program's name,
# which stands in parentheses and may hold blanks (proc(5)).
_SCRIPT = r"""
start() { sed -n 's/.*) \([^Z] \)/\1/p' "$1" 2>/dev/null | cut -d' ' -f20; }
is_alive() { [ -s "$1" ] && [ "$(start "$1")" = "$(start "/proc/$(cut -d' ' -f1 "$1")/stat")" ]; }
alive=0
if [ ! -e "$1/status" ] && { is_alive "$1/supervisor" || is_alive "$1/command"; }; then alive=1; fi
size=$(wc -c 2>/dev/null <"$1/$2") || size=0
end=$(($3 + $4))
[ "$end" -gt "$size" ] && end=$size
echo "@@job $alive $((end)) $((size))"
[ "$end" -gt "$3" ] && tail -c "+$(($3 + 1))" "$1/$2" | head -c "$((end - $3))"
exit 0
"""

_MARK = "@@job "


class Look(t.NamedTuple):
    """What one look showed: whether the job's process is there, the new text, and where the next look begins."""

    running: bool
    text: str
    offset: int
    more: bool


def look_command(directory: str, offset: int, file: str = "log") -> str:
    """Return the shell command that looks at the job in ``directory`` and at its log from the byte ``offset`` on."""
    words = ["/bin/sh", "-c", _SCRIPT, "look", directory, file, str(offset), str(CHUNK_BYTES)]
    return " ".join(shlex.quote(word) for word in words)


def parse_look(output: str) -> Look | None:
    """Read what :func:`look_command` printed; None when it did not print an answer."""
    _head, mark, rest = output.partition(_MARK)
    line, _newline, text = rest.partition("\n")
    fields = line.split()
    if not mark or len(fields) != 3:
        return None
    running, end, size = (int(field) for field in fields)
    return Look(bool(running), text.replace("\r\n", "\n"), end, end < size)
