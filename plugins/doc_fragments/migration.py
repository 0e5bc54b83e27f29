# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  migration:
    description: The id of the migration, the database's name and the row's number, for example V(main_85).
    type: str
  job_class_name:
    description:
      - The class of the migration, as it is in the database, for example V(CopyColumnUsingBackgroundMigrationJob).
      - The four options that identify a migration are given together. One that is in several databases is meant in each, unless
        O(database) says in which.
    type: str
  table_name:
    description: The table of the migration.
    type: str
  column_name:
    description: The column by which the migration goes through the table.
    type: str
  job_arguments:
    description:
      - The arguments of the migration as a list, V([]) when there are none. Quoting is not your concern.
      - They must be the same as in the row, including every V(null).
    type: raw
  database:
    description: Look in this database only, by the name of a connection (V(main), V(ci), V(sec)).
    type: str
"""
