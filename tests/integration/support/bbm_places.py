# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One database of one instance, and its rows of batched background migrations."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from gitlab_tables import job, migration

if t.TYPE_CHECKING:
    from instances import Instances

# An enum; a state machine that lets everything through; one that does not.
ENUM, OPEN, STRICT = "change-enum", "change-open", "change-two"
HOSTS = {ENUM: "gitlab-14.3.6", OPEN: "gitlab-15.4.6", STRICT: "gitlab-17.11.7-two-databases"}
# The oldest and the newest version that the collection claims.
FIRST, LAST = "change-first", "change-last"
ENDS = {FIRST: "gitlab-13.12.15", LAST: "gitlab-19.2.4-two-databases"}
_SHAPES = {FIRST: (13, 11), ENUM: (14, 0), OPEN: (15, 4), STRICT: (17, 8), LAST: (19, 2)}


@dataclass(frozen=True)
class Place:
    host: str
    database: str = "main"

    @property
    def dbname(self) -> str:
        return "gitlabhq_production" + ("" if self.database == "main" else f"_{self.database}")

    @property
    def has_log(self) -> bool:
        return self.host not in (FIRST, ENUM)


PLACES = [Place(ENUM), Place(OPEN), Place(STRICT), Place(STRICT, "ci")]


class Rows:
    """The rows of one place, for a test that begins without any."""

    def __init__(self, fleet: Instances, place: Place) -> None:
        self.fleet = fleet
        self.place = place

    def sql(self, statement: str) -> str:
        return self.fleet.sql(self.place.host, statement, self.place.dbname)

    def clear(self) -> None:
        self.sql("DELETE FROM batched_background_migrations")

    def add(self, **values: object) -> int:
        """Queue a migration over 2000 rows and return the row's number."""
        table = "'ci_stages'" if self.place.database == "ci" else "'taggings'"
        row = {
            "max_value": 2000,
            "batch_size": 1000,
            "job_class_name": "'NoArgsJob'",
            "table_name": table,
            "job_arguments": "'[]'",
            "gitlab_schema": "'gitlab_ci'" if self.place.database == "ci" else "'gitlab_main'",
            **values,
        }
        return int(self.sql(f"{migration(_SHAPES[self.place.host], **row).rstrip(';')} RETURNING id"))

    def add_failed(self, **values: object) -> int:
        """A failed migration: the first half is done, the second has used up its attempts."""
        number = self.add(status=4, **values)
        self.sql(job(number))
        failed = self.sql(
            f"{job(number, status=2, attempts=3, min_value=1001, max_value=1800).rstrip(';')} RETURNING id"
        )
        if self.place.has_log:
            self.sql(
                "INSERT INTO batched_background_migration_job_transition_logs (batched_background_migration_job_id,"
                " created_at, updated_at, previous_status, next_status, exception_class, exception_message)"
                f" VALUES ({failed}, now(), now(), 1, 2, 'ArgumentError', 'boom from the job')"
            )
        return number

    def id(self, number: int) -> str:
        return f"{self.place.database}_{number}"

    def status(self, number: int) -> int:
        return int(self.sql(f"SELECT status FROM batched_background_migrations WHERE id = {number}"))

    def jobs(self, number: int) -> list[list[int]]:
        """Status, attempts, batch size and bounds of each job, by bounds."""
        text = self.sql(
            "SELECT coalesce(jsonb_agg(jsonb_build_array(status, attempts, batch_size, min_value, max_value)"
            " ORDER BY min_value), '[]') FROM batched_background_migration_jobs"
            f" WHERE batched_background_migration_id = {number}"
        )
        return t.cast("list[list[int]]", json.loads(text))

    def all(self) -> str:
        """Everything that a module could have changed."""
        return self.sql(
            "SELECT to_jsonb(m) FROM batched_background_migrations AS m ORDER BY id;"
            " SELECT to_jsonb(j) FROM batched_background_migration_jobs AS j ORDER BY id"
        )

    def run(self, module: str, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return self.fleet.run(self.place.host, module, check=check, **options)
