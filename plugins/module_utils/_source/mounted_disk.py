# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""An untrusted disk image, mounted: the root in it, and what belongs to the root."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import (
    compressed,
    formats,
    gpt,
    partitions,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import luks1_view
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    found_root,
    lvm,
    volumes as source_volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    file_kind,
    loop_devices,
    storage_daemon,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    Runner,
    SealedRootError,
)

MOUNT_SECONDS = 300
CHECK_SECONDS = 1800
_EXT = ("ext2", "ext3", "ext4")
# Commands that check a file system before the kernel mounts it, and exit statuses that mean usable. As at every boot,
# e2fsck replays the journal and repairs what a power cut leaves, here in the overlay of the disk.
_CHECKS: t.Dict[str, t.Tuple[t.Tuple[str, ...], t.Tuple[int, ...]]] = {
    **dict.fromkeys(_EXT, (("e2fsck", "-f", "-p"), (0, 1))),
    "xfs": (("xfs_repair", "-n"), (0,)),
    "btrfs": (("btrfs", "check", "--readonly"), (0,)),
}
# xfs_repair prints this for a log that only the kernel can replay; its other messages are then meaningless.
_LOG = "valuable metadata changes in a log"
# Limit for logical volumes in several pieces, because each needs a daemon.
MAX_JOINED = 64
# Files that Disk creates in its directory.
FILES = re.compile(r"(disk|volume-[0-9]+)([.]qcow2)?")


def _ends(path: str) -> t.Tuple[bytes, bytes]:
    problem = file_kind.problem(path, file_kind.FILE)
    if problem:
        raise SealedRootError(f"{path} {problem}")
    with open(path, "rb") as file:
        head = file.read(formats.HEAD_BYTES)
        file.seek(max(0, os.path.getsize(path) - formats.TAIL_BYTES))
        return head, file.read()


def image_format(runner: Runner, path: str) -> str:
    """Detect the format from the file's own bytes; refuse an image that needs other files."""
    head, tail = _ends(path)
    broken = compressed.broken(runner, path, formats.compression(head))
    if broken:
        raise SealedRootError(f"{path} {broken}")
    return formats.image_format(path, head, tail)


def is_disk(path: str) -> bool:
    """Say whether a file is a disk image: in a disk image format, or raw with a partition table or a file system."""
    head, tail = _ends(path)
    if formats.is_tar(head) or formats.compression(head) != "none" or formats.no_disk(head):
        return False
    try:
        return formats.image_format(path, head, tail) != "raw" or bool(formats.disk(head))
    except SealedRootError:  # a disk image that cannot be used
        return True


class Disk:
    """The disk with a writable overlay, exported as a file, and its mounts; everything is below *scratch*.

    Logical volumes are joined from their pieces, without lvm and the kernel's device-mapper.
    """

    def __init__(self, runner: Runner, scratch: str) -> None:
        self.runner = runner
        self.scratch = scratch
        # The file of the user, for messages.
        self.path = ""
        self.export = os.path.join(scratch, "disk")
        self.probe = os.path.join(scratch, "probe")
        self.root = os.path.join(scratch, "root")
        self.joined = 0
        self.devices: t.Dict[t.Tuple[str, int], str] = {}

    def open(self, path: str, driver: str) -> None:
        """Export the disk."""
        self.path = path
        argv = [self.runner.find("qemu-img"), "info", "--output=json", "-f", driver, path]
        size = json.loads(self.runner.run(argv, timeout=60).stdout)["virtual-size"]
        for place in (self.probe, self.root):
            os.mkdir(place, 0o700)
        self._show(path, driver, size, self.export)

    def _show(self, path: str, driver: str, size: int, export: str) -> None:
        """Export a disk; an overlay takes what the kernel writes when it mounts."""
        layer = f"{export}.qcow2"
        argv = [self.runner.find("qemu-img"), "create", "-q", "-f", "qcow2", layer, str(size)]
        self.runner.run(argv, timeout=60)
        os.close(os.open(export, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self.runner.run(self._daemon_argv(path, driver, layer, export), timeout=60)

    def _daemon_argv(self, path: str, driver: str, layer: str, export: str) -> t.List[str]:
        source = {
            "node-name": "source",
            "driver": driver,
            "read-only": True,
            "file": {"driver": "file", "filename": path, "read-only": True},
        }
        if driver in ("qcow2", "vmdk"):
            # Ignore a backing file that the header may name.
            source["backing"] = None
        view = {
            "node-name": "view",
            "driver": "qcow2",
            "file": {"driver": "file", "filename": layer},
            "backing": "source",
        }
        return storage_daemon.argv(
            self.runner.find(storage_daemon.DAEMON),
            map(json.dumps, (source, view)),
            node="view",
            mountpoint=export,
            writable=True,
        )

    def volumes(self) -> t.List[source_volumes.Volume]:
        """Return the regions of the disk, with the type of their content."""
        whole = source_volumes.Volume(0, 0, os.path.getsize(self.export))
        found = [self._probed(whole)]
        # A file system without a partition table can begin with a boot sector that looks like one.
        if found[0].type not in source_volumes.FILE_SYSTEMS:
            table = self._table()
            parts = source_volumes.of_partitions(table, whole.size) if table else ()
            found = [self._probed(it) for it in parts] if table else found
        members = [(it.offset, it.size) for it in found if it.type == "LVM2_member"]
        return found + (self._logical_volumes(members) if members else [])

    def _table(self) -> t.Optional[partitions.Table]:
        with open(self.export, "rb") as disk:
            head = disk.read(gpt.HEAD_BYTES)
            size = disk.seek(0, os.SEEK_END)
            disk.seek(max(0, size - gpt.TAIL_BYTES))
            damage = gpt.damage(head, disk.read(), size)
        if damage:
            raise SealedRootError(f"{self.path}: {damage}")
        sector = gpt.sector(head)
        if sector == formats.SECTOR:
            return partitions.read(self.runner, self.export)
        # docs/facts.md: sectors-of-a-file
        with loop_devices.attached(
            self.runner, path=self.export, read_only=True, sector=sector
        ) as device:
            return partitions.read(self.runner, device)

    def _logical_volumes(self, members: t.Sequence[lvm.Region]) -> t.List[source_volumes.Volume]:
        with open(self.export, "rb") as disk:

            def read(offset: int, size: int) -> bytes:
                return os.pread(disk.fileno(), size, offset)

            there = lvm.logical_volumes(read, members)
        found = []
        for it in there:
            volume = source_volumes.Volume(0, 0, 0, logical=it.name, problem=it.problem)
            if len(it.pieces) == 1:
                ((offset, size),) = it.pieces
                volume = dataclasses.replace(volume, offset=offset, size=size)
            elif it.pieces:
                volume = self._joined(volume, it.pieces)
            found.append(volume if volume.problem else self._probed(volume))
        return found

    def _joined(
        self, volume: source_volumes.Volume, pieces: t.Sequence[lvm.Region]
    ) -> source_volumes.Volume:
        """Export the pieces as one disk, described in VMDK format, which QEMU parses when it opens the disk."""
        if self.joined == MAX_JOINED:
            return dataclasses.replace(volume, problem=f"one of more than {MAX_JOINED} in pieces")
        self.joined += 1
        export = os.path.join(self.scratch, f"volume-{self.joined}")
        size = sum(it[1] for it in pieces)
        with contextlib.ExitStack() as stack:
            disk = os.open(self.export, os.O_RDONLY)
            stack.callback(os.close, disk)
            text = os.memfd_create("vmdk-descriptor")
            stack.callback(os.close, text)
            # /proc/PID/fd names need no quoting.
            name = f"/proc/{os.getpid()}/fd/{disk}"
            sector = formats.SECTOR
            parts = [(name, offset // sector, length // sector) for offset, length in pieces]
            os.write(text, luks1_view.vmdk(*parts).encode())
            self._show(f"/proc/{os.getpid()}/fd/{text}", "vmdk", size, export)
        return dataclasses.replace(volume, path=export, size=size)

    def _probed(self, volume: source_volumes.Volume) -> source_volumes.Volume:
        argv = [self.runner.find("blkid"), "--probe", "--output", "export"]
        argv += ["--offset", str(volume.offset), "--size", str(volume.size)]
        argv.append(volume.path or self.export)
        return source_volumes.probed(volume, self.runner.run(argv, check=False, timeout=60).stdout)

    def mount(self, volume: source_volumes.Volume, point: str, option: str = "") -> None:
        """Mount read-only what the file system's checker accepts; the device is writable only to replay the journal."""
        path, offset = volume.path or self.export, volume.offset
        device = self.devices.get((path, offset))
        if device is None:
            device = loop_devices.attach(self.runner, path=path, offset=offset, size=volume.size)
            self.devices[path, offset] = device
            if not self._is_whole(volume, device):
                # The kernel has to replay the log before the file system can be checked.
                self._mount(volume, device, point, "")
                self.runner.run([self.runner.find("umount"), point], timeout=MOUNT_SECONDS)
                if not self._is_whole(volume, device):
                    raise self._damaged(volume, "its log cannot be replayed")
        self._mount(volume, device, point, option)

    def _is_whole(self, volume: source_volumes.Volume, device: str) -> bool:
        """Check a file system; return False if it cannot be checked before its log is replayed."""
        command, fine = _CHECKS[volume.type]
        argv = [*command, confined.DEVICE]
        result = confined.run_tool(self.runner, device, argv, check=False, timeout=CHECK_SECONDS)
        if result.rc in fine:
            return True
        output = result.stderr + result.stdout
        if volume.type == "xfs" and _LOG in output:
            return False
        lines = [
            line for line in output.replace(confined.DEVICE, "it").splitlines() if line.strip()
        ]
        raise self._damaged(
            volume, f"{command[0]} ends with {result.rc}: {'; '.join(lines[-3:])[:300]}"
        )

    @staticmethod
    def _damaged(volume: source_volumes.Volume, why: str) -> SealedRootError:
        return SealedRootError(
            f"{volume.name} ({volume.type}) is damaged ({why}), and this builder's kernel mounts nothing that is:"
            " repair the file system in its machine, or give the root as a tar"
        )

    def _mount(self, volume: source_volumes.Volume, device: str, point: str, option: str) -> None:
        options = ["ro", "nosuid", "nodev", "noexec", *(["nouuid"] if volume.type == "xfs" else [])]
        # Override the setting of the file system that an error panics the kernel that mounts it.
        options += ["errors=remount-ro"] if volume.type in _EXT else []
        argv = [self.runner.find("mount"), "--types", volume.type]
        argv += ["--options", ",".join([*options, *([option] if option else [])])]
        argv += [device, point]
        try:
            self.runner.run(argv, timeout=MOUNT_SECONDS)
        except CommandError as exc:
            error = exc.result.stderr.strip().splitlines()[:1]
            raise SealedRootError(
                f"{volume.name} ({volume.type}) cannot be mounted on this builder ({''.join(error)}):"
                " repair the file system, or build where the kernel can mount it"
            ) from exc

    @contextlib.contextmanager
    def mounted(self, volume: source_volumes.Volume, option: str = "") -> t.Iterator[str]:
        """Mount a volume for inspection."""
        self.mount(volume, self.probe, option)
        yield self.probe
        self.runner.run([self.runner.find("umount"), self.probe], timeout=MOUNT_SECONDS)

    def roots(self, volume: source_volumes.Volume) -> t.List[found_root.Root]:
        """Return the roots on one file system."""
        with self.mounted(volume) as top:
            default = (
                [found_root.Root(volume, None, found_root.read_mounts(top))]
                if found_root.has_root(top)
                else []
            )
        # Its own fstab can name another subvolume than the default one, in which it was found.
        asked = source_volumes.root_option(default[0].rows) if default else ""
        if volume.type != "btrfs" or (default and not asked):
            return default
        with self.mounted(volume, source_volumes.option_of("")) as top:
            argv = [self.runner.find("btrfs"), "subvolume", "list", top]
            names = source_volumes.subvolumes(self.runner.run(argv, timeout=60).stdout)
            names[source_volumes.TOP_LEVEL] = ""
            found = [
                (
                    number,
                    found_root.Root(volume, name, found_root.read_mounts(os.path.join(top, name))),
                )
                for number, name in names.items()
                if found_root.is_directory(top, name)
                and found_root.has_root(os.path.join(top, name))
            ]

        def is_named(number: int, root: found_root.Root, option: str) -> bool:
            return option in (source_volumes.option_of(root.subvolume), f"subvolid={number}")

        if default:
            return [it for number, it in found if is_named(number, it, asked)] or default
        # Snapshots look like roots as well: take the one whose fstab mounts its own subvolume.
        own = [
            it for number, it in found if is_named(number, it, source_volumes.root_option(it.rows))
        ]
        return own if len(own) == 1 else [it for _number, it in found]

    def assemble(
        self, root: found_root.Root, volumes: t.Sequence[source_volumes.Volume]
    ) -> t.List[source_volumes.Volume]:
        """Mount the root, and in it what it mounts from this disk; return what was mounted."""
        self.mount(root.volume, self.root, source_volumes.option_of(root.subvolume))
        taken = [root.volume]
        for part in source_volumes.parts(root.rows, volumes, root.volume):
            point = os.path.join(self.root, part.point)
            # The mount is read-only, so this cannot change before mounting: no symlink leads out of the root.
            is_there = found_root.is_directory(self.root, part.point)
            if part.is_found and (not is_there or os.listdir(point)):
                continue
            if not is_there:
                raise SealedRootError(
                    f"the root ({root.name}) mounts {part.volume.name} on /{part.point},"
                    " which is no directory there: correct its fstab or its units in the disk"
                )
            self.mount(part.volume, point, part.option)
            taken.append(part.volume)
        return taken


__all__ = (
    "FILES",
    "Disk",
    "image_format",
    "is_disk",
)
