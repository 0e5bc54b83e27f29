# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-ctl backup-etc`: an archive of /etc/gitlab (facts 5.6)."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from gitlab_ctl import layout, settings

# Archives under other names are never deleted.
_DATED = re.compile(r"gitlab_config_(\d{10})_\d{4}_\d{2}_\d{2}\.tar")


def main(arguments: t.Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="gitlab-ctl backup-etc")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("-p", "--backup-path", type=Path, default=layout.CONFIG_BACKUP)
    parser.add_argument("--delete-old-backups", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(arguments)
    folder = options.folder or options.backup_path
    if not folder.is_dir():
        print(f"Could not find '{folder}' directory. Creating.", flush=True)
        folder.mkdir(parents=True)
        folder.chmod(0o700)
    now = int(time.time())
    archive = folder / f"gitlab_config_{now}_{time.strftime('%Y_%m_%d', time.gmtime(now))}.tar"
    print("Running configuration backup")
    print(f"Creating configuration backup archive: {archive.name}", flush=True)
    archive.touch(mode=0o600)
    inside = ["--exclude", str(layout.CONFIG_BACKUP).lstrip("/")]
    answer = subprocess.run(
        ["tar", *inside, "--absolute-names", "--verbose", "--create", "--file", str(archive), "-C", "/", "etc/gitlab"],
        check=False,
    )
    if answer.returncode != 0:
        print("Configuration backup failed!", file=sys.stderr)
        return 1
    print(f"Configuration backup archive complete: {archive}")
    keep = settings.read(layout.GITLAB_RB, layout.installed_release()).get(
        "gitlab_rails", "backup_keep_time", default=0
    )
    if not options.delete_old_backups or not keep:
        print("Keeping all older configuration backups")
        return 0
    delete_older(folder, now - int(keep))
    return 0


def delete_older(folder: Path, limit: int) -> None:
    print(
        f"Removing configuration backups older than {time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(limit))} ..."
    )
    dated = ((_DATED.fullmatch(path.name), path) for path in sorted(folder.iterdir()))
    old = [path for name, path in dated if name and int(name[1]) < limit]
    for path in old:
        path.unlink()
        print(f"  Removed {path}")
    print(f"done. Removed {len(old)} older configuration backups.")
