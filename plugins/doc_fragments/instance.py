# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  install_type:
    description:
      - How GitLab was installed on the host.
      - V(omnibus) is the Linux package (C(gitlab-ee), C(gitlab-ce)), V(source) a self-compiled installation.
    type: str
    choices: [omnibus, source]
    default: omnibus
  rails_root:
    description:
      - Where GitLab's Rails application is, if not at its usual place
        (C(/opt/gitlab/embedded/service/gitlab-rails), or C(/home/git/gitlab) for V(source)).
    type: path
  databases:
    description:
      - The instance's databases, as a mapping from the name of the connection (V(main), V(ci), V(sec)) to the name of the database.
      - If not given, they are read from the instance's own C(database.yml). It must be given where that file is not on the host,
        for example when the database is asked from the controller.
    type: dict
  database_backend:
    description:
      - How the database is asked.
      - V(gitlab-psql) uses the client that GitLab brings, and needs nothing else on the host.
      - V(psycopg2) connects over the network with O(login_host); for a database that is not on the host.
    type: str
    choices: [gitlab-psql, psycopg2]
    default: gitlab-psql
  login_host:
    description:
      - The database's host, or the folder of its socket, for O(database_backend=psycopg2).
      - Name the PostgreSQL primary itself, not a PgBouncer.
    type: str
  login_port:
    description: The database's port, for O(database_backend=psycopg2).
    type: int
    default: 5432
  login_user:
    description: The database's user, for O(database_backend=psycopg2).
    type: str
    default: gitlab
  login_password:
    description: The user's password, for O(database_backend=psycopg2).
    type: str
  ssl_mode:
    description: Whether the connection is encrypted, for O(database_backend=psycopg2), in the words of libpq's C(sslmode).
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
"""
