# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How many non-batched background migrations wait in Sidekiq, asked without Rails: most classes keep no row in the database."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

# C(remaining) of GitLab counts the queues and the schedule; what failed and is to be tried again is not done either.
PLACES = ("queued", "scheduled", "retrying")

# A shell function for the probe: the folder of GitLab's configuration -> a line "<place> <number>" for each place; or why
# that cannot be told, and an exit status. Keys and namespace are GitLab's up to 15.0 (Gitlab::Redis::Queues, resque:gitlab).
# The schedule and the retries are everybody's: Redis picks the messages out by pages, so that it is never busy for long. The
# quote before the class leaves out Database::BatchedBackgroundMigrationWorker. Redis with a password refuses, which is no number.
SCRIPT = r"""
sidekiq_waiting() {
  yml=$1/redis.queues.yml
  [ -e "$yml" ] || yml=$1/resque.yml
  socket=$(awk '/^[^ #]/ { inside = ($1 == "production:") }
    inside && $1 == "url:" { gsub(/["\047]/, "", $2); if (sub(/^unix:/, "", $2)) { sub(/^\/+/, "/", $2); print $2 }; exit }' "$yml" 2>/dev/null)
  case $socket in '' | [!/]* | *@*) echo "$yml names no Redis on this host"; return 1 ;; esac
  if grep -Eqs '^ *routing_rules: *(\[ *\[.*)?$' "$1/gitlab.yml"; then echo "routing_rules decide about the queues"; return 1; fi
  client=/opt/gitlab/embedded/bin/redis-cli
  [ -x "$client" ] || client=redis-cli
  ask() { timeout 10 "$client" -s "$socket" --raw "$@" 2>/dev/null; }
  sizes=$(printf '%s\n' 'LLEN resque:gitlab:queue:background_migration' 'LLEN resque:gitlab:queue:background_migration_ci_database' \
    'ZCARD resque:gitlab:schedule' 'ZCARD resque:gitlab:retry' | ask | tr '\n' ' ')
  case $sizes in *[!0-9\ ]*) echo "Redis does not answer"; return 1 ;; esac
  set -- $sizes
  [ $# = 4 ] || { echo "Redis does not answer"; return 1; }
  echo "queued $(($1 + $2))"
  for place in "scheduled schedule $3" "retrying retry $4"; do
    set -- $place
    cursor=0 found=0
    while [ "$3" != 0 ]; do
      page=$(ask ZSCAN "resque:gitlab:$2" "$cursor" MATCH '*"BackgroundMigration*Worker"*' COUNT 1000)
      cursor=$(printf '%s\n' "$page" | sed -n 1p)
      case $cursor in '' | *[!0-9]*) echo "Redis does not answer"; return 1 ;; esac
      found=$((found + $(printf '%s\n' "$page" | grep -c '^{')))
      [ "$cursor" = 0 ] && break
    done
    echo "$1 $found"
  done
}
"""


@dataclass(frozen=True)
class Waiting:
    """The numbers by place; None where they could not be asked, with the reason why."""

    numbers: t.Mapping[str, int] | None
    why: str = ""

    @property
    def total(self) -> int:
        return sum(self.numbers.values()) if self.numbers else 0


NOT_ASKED = Waiting(None, "only the databases were asked")


def parse(lines: t.Sequence[str], rc: int) -> Waiting:
    """Read what C(sidekiq_waiting) printed; anything but one number for each place is no answer."""
    words = [line.split() for line in lines if line.strip()]
    if (
        rc == 0
        and [one[0] for one in words] == list(PLACES)
        and all(len(one) == 2 and one[1].isdigit() for one in words)
    ):
        return Waiting({place: int(number) for place, number in words})
    return Waiting(None, " ".join(words[-1]) if words and rc != 0 else "the host's answer is none")
