# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are on a host with the Linux package (facts 5.2), and which release is installed."""

from __future__ import annotations

import json
from pathlib import Path

from gitlab_ctl.release import Release

ROOT = Path("/opt/gitlab")
EMBEDDED = ROOT / "embedded"
POSTGRESQL_MAJORS = EMBEDDED / "postgresql"
RAILS_ROOT = EMBEDDED / "service/gitlab-rails"
PUBLIC = RAILS_ROOT / "public"
SERVICES = ROOT / "service"
SERVICE_DEFINITIONS = ROOT / "sv"
INIT = ROOT / "init"
NODES = EMBEDDED / "nodes"
RAILS_RC = ROOT / "etc/gitlab-rails-rc"
RAILS_ENVIRONMENT = ROOT / "etc/gitlab-rails/env"
PSQL_RC = ROOT / "etc/gitlab-psql-rc"
MANIFEST = ROOT / "version-manifest.json"

CONFIG = Path("/etc/gitlab")
GITLAB_RB = CONFIG / "gitlab.rb"
SECRETS = CONFIG / "gitlab-secrets.json"
CONFIG_BACKUP = CONFIG / "config_backup"
SKIP_RECONFIGURE = CONFIG / "skip-auto-reconfigure"
SKIP_BACKUP = CONFIG / "skip-auto-backup"
KEEP_POSTGRESQL = CONFIG / "disable-postgresql-upgrade"

DATA = Path("/var/opt/gitlab")
BOOTSTRAPPED = DATA / "bootstrapped"
PUBLIC_ATTRIBUTES = DATA / "public_attributes.json"
RAILS_DATA = DATA / "gitlab-rails"
UPGRADE_STATUS = RAILS_DATA / "upgrade-status"
POSTGRESQL = DATA / "postgresql"
OLD_POSTGRESQL = DATA / "postgresql-version.old"
REDIS = DATA / "redis"
LOGS = Path("/var/log/gitlab")


def installed_release() -> Release:
    """The release of the installed package, from its own manifest."""
    return Release(json.loads(MANIFEST.read_text(encoding="utf-8"))["build_version"])
