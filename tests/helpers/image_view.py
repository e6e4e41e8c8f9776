# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A look into a finished image by plain tools, none of which is the collection's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import time
import typing as t

ROOT_OFFSET = 100 << 20


class Entry(t.NamedTuple):
    """What a file system keeps of a name; the content is a link's target or a file's digest."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: str
    xattrs: tuple[tuple[str, bytes], ...] = ()


@contextlib.contextmanager
def mounted(directory: pathlib.Path, mib: int = 2048) -> t.Iterator[pathlib.Path]:
    """Mount the root of the image in *directory* read-only and yield where it is."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sealedroot-view-", dir="/var/tmp"))
    payload, root = folder / "payload", folder / "root"
    payload.touch()
    root.mkdir()
    # The exported file shows the LUKS payload of the second partition.
    daemon = subprocess.Popen(
        [
            *("qemu-storage-daemon", "--object"),
            f"secret,id=key,file={directory / 'recovery.key'}",
            "--blockdev",
            f"driver=file,node-name=f,filename={directory / 'disk.qcow2'},read-only=on",
            *("--blockdev", "driver=qcow2,node-name=q,file=f,read-only=on"),
            "--blockdev",
            f"driver=raw,node-name=r,file=q,offset={ROOT_OFFSET},size={(mib - 101) << 20},read-only=on",
            *("--blockdev", "driver=luks,node-name=l,file=r,key-secret=key,read-only=on"),
            *("--export", f"type=fuse,id=e,node-name=l,mountpoint={payload},writable=off"),
        ]
    )
    try:
        deadline = time.monotonic() + 60
        while payload.stat().st_size == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        subprocess.run(["mount", "-o", "ro,loop,noload", str(payload), str(root)], check=True)
        try:
            yield root
        finally:
            subprocess.run(["umount", str(root)], check=True)
    finally:
        daemon.terminate()
        daemon.wait(30)
        shutil.rmtree(folder)


def describe_tree(root: pathlib.Path) -> dict[str, Entry]:
    """Describe every name in a tree."""
    found: dict[str, Entry] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = pathlib.Path(folder, name)
            info = path.lstat()
            kind, content = "o", ""
            if stat.S_ISLNK(info.st_mode):
                kind, content = "l", os.readlink(path)
            elif stat.S_ISDIR(info.st_mode):
                kind = "d"
            elif stat.S_ISREG(info.st_mode):
                kind, content = "f", hashlib.sha256(path.read_bytes()).hexdigest()
            xattrs = tuple(
                (key, os.getxattr(path, key, follow_symlinks=False))
                for key in sorted(os.listxattr(path, follow_symlinks=False))
            )
            found[str(path.relative_to(root))] = Entry(
                kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, content, xattrs
            )
    return found


def times(root: pathlib.Path) -> dict[str, int]:
    """Return when every name in a tree was last changed, in nanoseconds, the root itself included."""
    found = {".": root.lstat().st_mtime_ns}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = pathlib.Path(folder, name)
            found[str(path.relative_to(root))] = path.lstat().st_mtime_ns
    return found
