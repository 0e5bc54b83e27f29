# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layer on top of every image: what makes a root file system a host of this test bed.

It holds guest/ and the keys, and lies topmost so that an old image runs with what is current.
"""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess

from .store import Store, need

GUEST = pathlib.Path(__file__).parent / "guest"
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


def make_keys(store: Store) -> None:
    """The key that logs in (keys/id), the hosts' own (keys/host) and keys/known_hosts."""
    if (store.keys / "known_hosts").exists():
        return
    need(["ssh-keygen"])
    for name in ("id", "host"):
        (store.keys / name).unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", str(store.keys / name)], check=True
        )
    (store.keys / "known_hosts").write_text(f"* {(store.keys / 'host.pub').read_text()}")


def make(store: Store) -> pathlib.Path:
    """The layer's directory, made if the guest files or the keys have changed."""
    make_keys(store)
    files = {
        # Debian 12 has its programs below /usr; a layer must not hide the links in /.
        "usr/sbin/init": (GUEST / "init", 0o755),
        "usr/lib/testbed/names": (GUEST / "names", 0o755),
        "etc/ssh/sshd_config.d/testbed.conf": (GUEST / "sshd.conf", 0o644),
        HOST_KEY: (store.keys / "host", 0o600),
        f"{HOST_KEY}.pub": (store.keys / "host.pub", 0o644),
        "root/.ssh/authorized_keys": (store.keys / "id.pub", 0o600),
    }
    content = b"".join(f"{path} {mode:o}\n".encode() + source.read_bytes() for path, (source, mode) in files.items())
    layer = store.seeds / hashlib.sha256(content).hexdigest()[:12]
    if not layer.exists():
        with store.building(layer) as directory:
            for path, (source, mode) in files.items():
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
                target.chmod(mode)
            for directory_path in [directory, *directory.rglob("*")]:
                if directory_path.is_dir():
                    directory_path.chmod(0o755)
            for private in ("root", "root/.ssh"):
                (directory / private).chmod(0o700)
    return layer
