# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup, and an instance that an upgrade after it has failed on."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils import _rollback as rb
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._backup_manifest import (
    Archive,
    Configuration,
    DatabaseDump,
    GitLab,
    Manifest,
    Package,
    PostgreSQL,
)
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._restore_place import Place

MINE, OTHER = "a" * 64, "b" * 64
NODE = "gitlab.example.com"

DUMP = DatabaseDump("main", "gitlabhq_production", "db/database.sql.gz", 1000, {"public.projects": 42}, 30, "20210611")
MANIFEST = Manifest(
    id="1700535909_2023_11_21_14.0.12-ee",
    archive=Archive("/var/opt/gitlab/backups/x_gitlab_backup.tar", 1000, MINE),
    configuration=Configuration("/etc/gitlab/config_backup/c.tar", 10, MINE, ("etc/gitlab/gitlab.rb",)),
    gitlab=GitLab("14.0.12-ee", "ee", Package("gitlab-ee", "14.0.12-ee.0"), "omnibus"),
    postgresql=PostgreSQL("13.11", 13),
    databases=(DUMP,),
    parts=(),
    skipped=("registry",),
    secrets={NODE: MINE},
    created_at="2023-11-21T03:05:09Z",
    verified_at="2023-11-21T03:06:09Z",
    verified=True,
    checks=(),
)
NEWER = rb.Schema("main", "gitlabhq_production", 38, "20210709", ("20210622", "20210709"))
SAME = rb.Schema("main", "gitlabhq_production", 30, "20210611")
THERE = Place(MANIFEST.archive.path, True, True, True, "git")
FAILED = rb.Facts(
    manifest=MANIFEST,
    version="14.2.7-ee",
    package_state="half-configured",
    schemas=[NEWER],
    postgresql=rb.PostgreSQL(13, True),
    free=3000,
    place=THERE,
    secrets={NODE: OTHER, "sidekiq-1": MINE},
    archived_secrets=MINE,
)
OPTIONS = rb.Options(NODE)
BEGUN = {"backup": MANIFEST.id, "sha256": MINE, "finished_at": None}
FINISHED = {"backup": MANIFEST.id, "sha256": MINE, "finished_at": 1700600000.0}
BACK = replace(FAILED, version="14.0.12-ee", package_state="installed")
