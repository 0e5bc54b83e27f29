# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tracked rows and Sidekiq's messages of the non-batched background migrations on a test host."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from instances import Instances

HOSTS = {
    "older-first": "gitlab-14.0.12",
    "older-enum": "gitlab-14.3.6",
    "older-stuck": "gitlab-14.10.5",
    "older-two": "gitlab-17.11.7-two-databases",
}
FIRST, ENUM, STUCK, TWO = HOSTS
# Nothing is left there but the table.
GONE = "older-gone"
ENDS = {GONE: "gitlab-19.2.4-two-databases"}

JOBS_DIRECTORY = "/var/lib/gitlab_fleet_upgrade/jobs"
RECORD = "/var/lib/gitlab_fleet_upgrade/background_migrations.json"
LOG = "/var/log/gitlab/gitlab-rails/application_json.log"
REDIS = "redis-cli -s /var/opt/gitlab/redis/redis.socket"

QUEUES = {"main": "background_migration", "ci": "background_migration_ci_database"}
WORKERS = {"main": "BackgroundMigrationWorker", "ci": "BackgroundMigration::CiDatabaseWorker"}
SETS = {"scheduled": "schedule", "retrying": "retry", "dead": "dead"}
FAR = 99999999999


@dataclass(frozen=True)
class Older:
    """One instance, emptied of them."""

    fleet: Instances
    name: str

    def sql(self, statement: str, database: str = "main") -> str:
        return self.fleet.sql(
            self.name, statement, "gitlabhq_production" + ("" if database == "main" else f"_{database}")
        )

    def sh(self, script: str) -> str:
        return self.fleet.sh(self.name, script)

    def run(self, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return self.fleet.run(self.name, "background_migrations", check=check, **options)

    def clear(self) -> None:
        for database in self.databases:
            self.sql("TRUNCATE background_migration_jobs RESTART IDENTITY", database)
        self.redis("FLUSHALL")
        self.sh(f"rm -f {RECORD} {LOG}; pkill -KILL -f '[r]ails runner' || true; rm -rf {JOBS_DIRECTORY}")

    @property
    def databases(self) -> list[str]:
        return ["main", "ci"] if self.name in (TWO, GONE) else ["main"]

    def redis(self, *commands: str) -> str:
        lines = "\n".join(commands)
        return self.sh(f"{REDIS} <<'REDIS'\n{lines}\nREDIS")

    def row(self, class_name: str, arguments: list[t.Any], database: str = "main") -> None:
        self.sql(
            "INSERT INTO background_migration_jobs (created_at, updated_at, class_name, arguments)"
            f" VALUES (now(), now(), '{class_name}', '{json.dumps(arguments)}')",
            database,
        )

    def message(self, place: str, class_name: str, arguments: list[t.Any], database: str = "main") -> None:
        """Put a message where Sidekiq would have it; in the retry and dead sets it has its error."""
        content: dict[str, t.Any] = {
            "class": WORKERS[database],
            "queue": QUEUES[database],
            "retry": 3,
            "args": [class_name, arguments],
            "jid": f"{place}{class_name}{arguments}",
        }
        if place in ("retrying", "dead"):
            content.update(error_class="PG::Oops", error_message="no such luck", failed_at=1795172105.7, retry_count=3)
        text = json.dumps(content)
        if place == "queued":
            self.redis(f"LPUSH resque:gitlab:queue:{QUEUES[database]} '{text}'")
        else:
            self.redis(f"ZADD resque:gitlab:{SETS[place]} {FAR} '{text}'")

    def at_work(self, class_name: str, arguments: list[t.Any]) -> None:
        """Let a Sidekiq process be at work on a message, by what it keeps in Redis about itself."""
        job = json.dumps({"class": WORKERS["main"], "args": [class_name, arguments], "jid": "a"})
        work = json.dumps({"queue": QUEUES["main"], "payload": job, "run_at": 1795172105})
        self.redis(
            "SADD resque:gitlab:processes host:1:a",
            "HSET resque:gitlab:host:1:a busy 1",
            f"HSET resque:gitlab:host:1:a:workers thread '{work}'",
        )

    def messages(self) -> dict[str, list[str]]:
        """What is in Redis: class and arguments, by place."""
        found = {
            "main": self.redis(f"LRANGE resque:gitlab:queue:{QUEUES['main']} 0 -1"),
            "ci": self.redis(f"LRANGE resque:gitlab:queue:{QUEUES['ci']} 0 -1"),
            **{place: self.redis(f"ZRANGE resque:gitlab:{key} 0 -1") for place, key in SETS.items()},
        }
        return {
            place: sorted(json.dumps(json.loads(line)["args"]) for line in text.splitlines() if line)
            for place, text in found.items()
        }

    def pending(self, database: str = "main") -> list[str]:
        text = self.sql(
            "SELECT class_name || ' ' || arguments FROM background_migration_jobs WHERE status = 0 ORDER BY id",
            database,
        )
        return text.splitlines()

    def ran(self, class_name: str) -> list[list[t.Any]]:
        """The arguments that a class was run with, as it wrote them into GitLab's log."""
        lines = [json.loads(line) for line in self.sh(f"cat {LOG} 2>/dev/null || true").splitlines()]
        return [line["arguments"] for line in lines if line["message"] == class_name]

    def traces(self) -> str:
        """All that a run could have changed."""
        rows = [
            self.sql("SELECT to_jsonb(j) FROM background_migration_jobs AS j ORDER BY id", one)
            for one in self.databases
        ]
        files = self.sh(f"find {JOBS_DIRECTORY} {RECORD} -type f -printf '%p %T@\\n' 2>/dev/null | sort")
        return f"{rows}\n{self.messages()}\n{files}"

    def wait_until(self, condition: Callable[[], t.Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.traces()
            time.sleep(0.3)


def emptied(queues: Instances, name: str) -> Older:
    """The host without any of them."""
    found = Older(queues, name)
    found.clear()
    return found


def counts(result: dict[str, t.Any]) -> dict[tuple[str, str], tuple[int | None, ...]]:
    """Pending, queued, scheduled, retrying and dead, by database and class."""
    names = ("pending", "queued", "scheduled", "retrying", "dead")
    return {(one["database"], one["class_name"]): tuple(one[name] for name in names) for one in result["classes"]}
