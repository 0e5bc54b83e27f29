# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""runit's C(down) files, by which a service is not started when the node boots.

A file C(down) beside a service's C(run) keeps runsv from starting it; C(sv start) starts it all the same:
https://smarden.org/runit/runsv.8.html. In the Linux package that is C(/opt/gitlab/sv/<service>/down), since
C(/opt/gitlab/service/<service>) is a link to that directory. A reconfigure makes the file, with a text of its own, for
services with C(ha) in gitlab.rb, and leaves it alone for all others: it neither makes nor deletes it (action C(create)
of runit_service in https://gitlab.com/gitlab-org/omnibus-gitlab/-/blob/master/files/gitlab-cookbooks/runit/).

The file itself says whose it is, so that making it and claiming it are one act, and one that a reconfigure, or a
person, wrote anew is no longer ours.
"""

from __future__ import annotations

import os

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError

DEFINITIONS = "/opt/gitlab/sv"

OURS = "ours"
FOREIGN = "foreign"

_MARK = "Made by gitlab_services of gitlab_fleet.upgrade"
_TEXT = (
    f"{_MARK}: this service stays down over a reboot until the run that stopped it has got to its end.\n"
    "The next run of the playbook takes this file away. By hand: remove it, then gitlab-ctl start.\n"
)


class DownFiles:
    """The C(down) files of one node; ``definitions`` is the directory that holds one for each service."""

    def __init__(self, definitions: str = DEFINITIONS) -> None:
        self._definitions = definitions

    def owner(self, service: str) -> str | None:
        """Return C(ours) or C(foreign) where the service has such a file, None where it has none.

        :raises GitLabError: it is there, but cannot be read.
        """
        path = self._path(service)
        try:
            with open(path, "rb") as file:
                return OURS if file.read(len(_MARK)) == _MARK.encode() else FOREIGN
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            # Only its name is of account to runsv.
            return FOREIGN
        except OSError as error:
            raise GitLabError(f"Cannot read {path}: {error.strerror}.", "Run as root (become: true).") from error

    def make(self, service: str) -> None:
        """Let the service stay down at the next boot. A file that came into being meanwhile stays as it is.

        :raises GitLabError: it cannot be written.
        """
        path = self._path(service)
        new = f"{path}.new"
        try:
            # Without its text it would never be known for ours again: it appears whole, also if the power fails now.
            with open(new, "w", encoding="utf-8") as file:
                file.write(_TEXT)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(new, path)
            except FileExistsError:
                pass
            os.unlink(new)
        except OSError as error:
            raise _cannot("write", path, error) from error

    def remove(self, service: str) -> None:
        """Let the service come up again at the next boot; another run may have removed the file first.

        :raises GitLabError: it cannot be removed.
        """
        path = self._path(service)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _cannot("remove", path, error) from error

    def _path(self, service: str) -> str:
        return os.path.join(self._definitions, service, "down")


def _cannot(verb: str, path: str, error: OSError) -> GitLabError:
    return GitLabError(
        f"Cannot {verb} {path}: {error.strerror}.",
        "Run as root (become: true) and make room on the file system, then run this again.",
        path=path,
    )
