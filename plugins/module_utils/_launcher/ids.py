# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Map the ids of the image, so that its root is nobody on the builder."""

from __future__ import annotations

import errno
import os
import stat

from . import kernel, mounts
from .request import Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .request import Settings

# Root of the image is this user on the builder, and the other users follow. Below are the ranges that systemd and
# others give to user namespaces (https://systemd.io/UIDS-GIDS).
FIRST_ID = 1 << 31
IDS = FIRST_ID - 2


def user_namespace() -> int:
    """Return a descriptor of a new user namespace in which FIRST_ID is root."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.unshare(kernel.NEW_USERS)
            _limit_watches()
            os.write(ready[1], b"+")
            os.close(go[1])
            os.read(go[0], 1)
        finally:
            os._exit(0)
    os.close(ready[1])
    try:
        if not os.read(ready[0], 1):
            raise OSError(errno.EPERM, "no user namespace can be made")
        for name in ("uid_map", "gid_map"):
            kernel.write(f"/proc/{pid}/{name}", f"0 {FIRST_ID} {IDS}\n")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for handle in (ready[0], *go):
            os.close(handle)
        os.waitpid(pid, 0)


def _limit_watches() -> None:
    """Let the namespace watch a quarter of what the builder's root may (inotify(7)): the kernel counts it as root's.

    Two commands can run at once, one of them in the background.
    """
    for name in ("instances", "watches"):
        try:
            with open(f"/proc/sys/fs/inotify/max_user_{name}", encoding="ascii") as file:
                quarter = int(file.read()) // 4
            kernel.write(f"/proc/sys/user/max_inotify_{name}", str(quarter))
        except (OSError, ValueError):
            continue  # this kernel has no such limit


def map_ids(at: Places, settings: Settings, namespace: int, *, probe: bool) -> None:
    """Become root of the user *namespace*, and change *at* to where that user finds the parts of the sandbox.

    The parts are below directories that only the builder's root may enter. So they are first mounted on a tmpfs, in
    the mount namespace of this process.
    """
    trees = {name: kernel.clone_mount(getattr(at, name)) for name in Places.DIRECTORIES[1:]}
    trees["root"] = kernel.clone_mount(at.root, namespace)
    if at.disk:
        trees["disk"] = kernel.clone_mount(at.disk)
    number = os.stat(at.device).st_rdev if at.device else 0
    # The copy is in a directory that this user may not enter, and the original is safe: it belongs to another user.
    at.bwrap = settings.bwrap
    mounts.detach_all_but(at.bwrap)
    stage = "/tmp"
    kernel.mount("sealedroot", stage, kind="tmpfs", options="mode=0755,size=1m")
    for name, tree in trees.items():
        path = f"{stage}/{name}"
        if name in Places.DIRECTORIES:
            os.mkdir(path, 0o755)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o444))
        kernel.attach_mount(tree, path)
        setattr(at, name, path)
    at.empty = f"{stage}/empty"
    os.close(os.open(at.empty, os.O_CREAT | os.O_RDONLY, 0o444))
    if at.device:
        at.device = f"{stage}/device"
        os.mknod(at.device, stat.S_IFBLK | 0o400, number)
        os.chown(at.device, FIRST_ID, FIRST_ID)
    if probe:
        at.root = f"{stage}/probe"
        os.mkdir(at.root)
        os.chown(at.root, FIRST_ID, FIRST_ID)
    kernel.enter_user_namespace(namespace)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
