# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Show a closed image read-only as plain files: the whole disk, and the payload of its LUKS partition.

A raw image needs no conversion. For other formats, and for the payload, ``qemu-storage-daemon`` exports a
read-only file through FUSE: no loop device, no device-mapper, no mount.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import formats
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    luks1_view,
    metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts, storage_daemon
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

_TMPFS = ("tmpfs", "ramfs")
_MEMORY = ("/dev/shm", "/run")


@contextlib.contextmanager
def private_directory(wanted: t.Optional[str]) -> t.Iterator[str]:
    """Yield a temporary directory in memory that only root can read, inside *wanted* if given."""
    table = mounts.read()
    for parent in [wanted] if wanted else _MEMORY:
        if os.path.isdir(parent) and mounts.type_of(parent, table) in _TMPFS:
            break
    else:
        raise SealedRootError(
            f"{wanted or ' and '.join(_MEMORY)}: no tmpfs, and secrets of the image must not reach a"
            " disk. Set work_dir to a directory on a tmpfs"
        )
    path = tempfile.mkdtemp(prefix="sealedroot-audit-", dir=os.path.abspath(parent))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def has_vhd_footer(path: str) -> bool:
    """Say whether a file ends with the footer of a vhd; False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - formats.TAIL_BYTES))
            return file.read().startswith(formats.VHD_COOKIE)
    except OSError:
        return False


def format_info(runner: Runner, path: str) -> t.Dict[str, t.Any]:
    """Return the output of ``qemu-img info``."""
    # A vhd of fixed size is a raw disk with a footer, and qemu-img does not look for the footer.
    known = ["-f", "vpc"] if has_vhd_footer(path) else []
    argv = [runner.find("qemu-img"), "info", "--output=json", *known, path]
    result = runner.run(argv, check=False, timeout=60)
    if result.rc != 0:
        raise SealedRootError(f"{path} is not a disk image: {result.stderr.strip()}")
    info: t.Dict[str, t.Any] = json.loads(result.stdout)
    return info


def check_container(runner: Runner, path: str, image_format: str) -> t.Tuple[t.List[str], bool]:
    """Run ``qemu-img check``; return problems, and whether the file has compressed data."""
    argv = [runner.find("qemu-img"), "check", "--output=json", "-f", image_format, path]
    result = runner.run(argv, check=False, timeout=300)
    if result.rc == 63:  # the format has no check; it may compress data
        return [], True
    if result.rc != 0:
        return [
            f"qemu-img check finds it damaged (exit status {result.rc}): convert it again"
        ], True
    return [], bool(json.loads(result.stdout).get("compressed-clusters"))


def is_fixed_vhd(path: str, info: t.Mapping[str, t.Any]) -> bool:
    """Say whether the image is a raw disk followed by nothing but a vhd footer (``qemu-img info``)."""
    size = os.path.getsize(path) - formats.TAIL_BYTES
    return info["format"] == "vpc" and int(info["virtual-size"]) == size


def disk_node(path: str, image_format: str, *, size: t.Optional[int] = None) -> t.Dict[str, t.Any]:
    """Return QEMU's description of the disk in *path*, read-only and without a backing file.

    With *size*, the disk is the first *size* bytes of the file, as raw data.
    """
    # Other programs may have the file open for reading; QEMU's lock refuses a writer.
    node: t.Dict[str, t.Any] = {
        "driver": image_format,
        "read-only": True,
        "file": {"driver": "file", "filename": path, "read-only": True},
    }
    if size is not None:
        # QEMU's driver for vhd does not report holes.
        node.update(driver="raw", size=size)
    if image_format in ("qcow2", "qed", "qcow", "vmdk"):
        node["backing"] = None
    return node


def region_node(
    disk: t.Mapping[str, t.Any], *, offset: int, size: int, image_format: str
) -> t.Dict[str, t.Any]:
    """Return QEMU's description of a region of the disk."""
    below = disk["file"] if image_format == "raw" else disk
    return {"driver": "raw", "read-only": True, "offset": offset, "size": size, "file": below}


def payload_node(
    disk: t.Mapping[str, t.Any], *, offset: int, size: int, image_format: str
) -> t.Dict[str, t.Any]:
    """Return QEMU's description of the decrypted payload of the LUKS1 partition at *offset*."""
    region = region_node(disk, offset=offset, size=size, image_format=image_format)
    return {"driver": "luks", "read-only": True, "key-secret": "key", "file": region}


def copy(runner: Runner, node: t.Mapping[str, t.Any], target: str) -> None:
    """Copy what *node* describes into a new raw file; qemu-img must not probe the disk's format."""
    argv = [runner.find("qemu-img"), "convert", "-O", "raw", f"json:{json.dumps(node)}", target]
    runner.run(argv, timeout=60)


@contextlib.contextmanager
def luks2_node(
    runner: Runner, view: str, header: metadata.Header, *, offset: int, size: int
) -> t.Iterator[t.Dict[str, t.Any]]:
    """Yield QEMU's description of the decrypted payload of the LUKS2 partition in the raw disk *view*."""
    obstacles = luks1_view.obstacles(header)
    if obstacles:
        raise SealedRootError(
            f"the root file system can be read here only where luks1 could be the same, and"
            f" {'; '.join(obstacles)}"
        )
    with luks1_view.descriptor(
        runner, path=view, offset=offset, size=size, payload_offset=header.payload_offset
    ) as descriptor:
        file = {"driver": "file", "filename": descriptor, "read-only": True}
        region = {"driver": "vmdk", "read-only": True, "file": file, "backing": None}
        yield {"driver": "luks", "read-only": True, "key-secret": "key", "file": region}


def daemon_argv(
    daemon: str, node: t.Mapping[str, t.Any], *, mountpoint: str, key_file: t.Optional[str] = None
) -> t.List[str]:
    """Return the command that exports *node* as the file *mountpoint*."""
    view = json.dumps({"node-name": "view", **node})
    return storage_daemon.argv(
        daemon, [view], node="view", mountpoint=mountpoint, key_file=key_file
    )


@contextlib.contextmanager
def shown(
    runner: Runner,
    node: t.Mapping[str, t.Any],
    *,
    mountpoint: str,
    key_file: t.Optional[str] = None,
) -> t.Iterator[str]:
    """Export *node* as a file while the context lasts."""
    os.close(os.open(mountpoint, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    daemon = runner.find(storage_daemon.DAEMON)
    argv = daemon_argv(daemon, node, mountpoint=mountpoint, key_file=key_file)
    try:
        # With --daemonize it returns once the file is there.
        started = runner.run(argv, check=False, timeout=60)
        if started.rc != 0:
            reason = started.stderr.strip()
            cure = " Run it as root." if os.geteuid() != 0 else ""
            raise SealedRootError(f"qemu-storage-daemon cannot show the image: {reason}.{cure}")
        yield mountpoint
    finally:
        # The export ends with the daemon.
        for pid in storage_daemon.daemons(mountpoint):
            storage_daemon.stop(pid)
        os.unlink(mountpoint)


__all__ = (
    "check_container",
    "copy",
    "daemon_argv",
    "disk_node",
    "format_info",
    "has_vhd_footer",
    "is_fixed_vhd",
    "luks2_node",
    "payload_node",
    "private_directory",
    "region_node",
    "shown",
)
