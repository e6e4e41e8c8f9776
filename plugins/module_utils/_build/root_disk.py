# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The disk of a build: made, opened with its root mounted, made read-only, closed."""

from __future__ import annotations

import os
import typing as t
import uuid

from ansible_collections.sealedroot.image.plugins.module_utils._build import work_dir
from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout, luks_region
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import mkfs
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    container,
    cryptsetup,
    key_entries,
    key_plan,
    metadata,
    pinned_header,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices, mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

Params = t.Mapping[str, t.Any]

MOUNT_OPTIONS = ("noatime", "nodev", "nosuid")
# find refuses -execdir under a PATH with a directory that is not absolute.
FIND_PATH = {"PATH": "/usr/bin:/bin"}
# The mode of the disk: of an open one, and when nothing is written to it any more. It is ciphertext.
PRIVATE, PUBLIC = 0o600, 0o644


class RootDisk:
    """The disk of a build in its directory; *params* are those of the module image_disk, with the size in bytes."""

    def __init__(self, runner: Runner, params: Params) -> None:
        self._runner, self._params = runner, params
        self._keys = key_entries.wanted(params["keys"] or ())
        self.uuids = layout.derived_uuids(params["uuid"])
        self.path = os.path.join(params["work_dir"], "disk.raw")
        self.root = os.path.join(params["work_dir"], "root")
        self.device = f"{mounts.MAPPER_DIR}/{params['name']}"

    def check(self) -> None:
        """Refuse what cannot be done, before anything is made."""
        directory = self._params["work_dir"]
        if not os.path.isdir(directory):
            raise SealedRootError(
                f"{directory} is not there: make the directory of the build first"
            )
        if self._params["state"] == "open":
            work_dir.check_private(directory)
        luks_region.check_name(self._params["name"])
        if self._params["state"] == "open":
            key_plan.check(
                self._keys, self._params["luks"].get("type") or luks_region.DEFAULTS["type"]
            )
        for key in self._keys:
            container.check_key_file(key.key)

    def mount(self) -> t.Optional[mounts.Mount]:
        """Return the mount of the root; another one in its place is an error."""
        path = os.path.realpath(self.root)
        found = next((it for it in reversed(mounts.read()) if it.path == path), None)
        if found and os.path.realpath(found.source) != os.path.realpath(self.device):
            raise SealedRootError(
                f"{found.source} is mounted on {self.root}, not {self.device}: unmount it"
            )
        return found

    def state(self) -> str:
        """Return the state: ``absent``, ``closed``, ``open`` or ``read_only``."""
        if not os.path.lexists(self.path):
            return "absent"
        mount = self.mount()
        if mount is None:
            return "closed"
        return "read_only" if "ro" in mount.options else "open"

    def make_and_open(self, *, check_mode: bool) -> t.Dict[str, t.Any]:
        """Make what is missing and mount the root; return the facts about the container."""
        params = self._params
        if not layout.is_made(self._runner, self.path, params["size"]):
            if check_mode:
                return {}
            is_reproducible = params["source_date_epoch"] > 0
            layout.make(
                self._runner, self.path, params["size"], self.uuids, reproducible=is_reproducible
            )
        found = self._luks("open", check_mode=check_mode)
        if not check_mode:
            try:
                self._ensure_keys(formatted=found["formatted"])
                if self.mount() is None:
                    os.chmod(self.path, PRIVATE)
                    self._make_and_mount(found)
                else:
                    self._check_filesystem()
            except SealedRootError:
                if found["changed"]:
                    self.close(check_mode=False)
                raise
        said = {name: found[name] for name in ("backend", "backend_reason")}
        root_uuid = {} if check_mode else {"root_uuid": self._tag("UUID")}
        # As in JSON, a slot is text.
        slots = {str(slot): count for slot, count in sorted(self._slots().items())}
        return {**said, **root_uuid, "luks_uuid": found["uuid"], "slots": slots}

    def make_read_only(self) -> None:
        """Give back the blocks that no file uses, and remount it read-only, which writes out the journal."""
        epoch = self._params["source_date_epoch"]
        if epoch:
            later = [self._runner.find("find"), self.root, "-xdev", "-newermt", f"@{epoch}"]
            touch = ["touch", "--no-dereference", f"--date=@{epoch}", "--", "{}", "+"]
            self._runner.run([*later, "-execdir", *touch], env=FIND_PATH, timeout=600)
        # QEMU's LUKS driver (userspace backend) ignores this, up to 7.2 at least. That is why a build makes its
        # temporary files elsewhere.
        self._runner.run([self._runner.find("fstrim"), self.root], timeout=600)
        # The image's own GRUB reads the disk, and the image's root is an unprivileged user on the builder.
        os.chmod(self.path, PUBLIC)
        self._runner.run([self._runner.find("mount"), "-o", "remount,ro", self.root], timeout=60)

    def close(self, *, check_mode: bool) -> bool:
        """Unmount the root and close the container; say whether anything was open."""
        is_mounted = self.mount() is not None
        if is_mounted and not check_mode:
            self._runner.run([self._runner.find("umount"), self.root], timeout=600)
        # A disk without a header is not closed: that would make one.
        has_container = is_mounted or self._has_header()
        was_open = has_container and self._luks("closed", check_mode=check_mode)["changed"]
        return is_mounted or bool(was_open)

    def region(self) -> t.Dict[str, int]:
        """Return where the LUKS partition is."""
        size = layout.root_size(self._params["size"])
        return {"offset": layout.ROOT_OFFSET, "size": size}

    def _has_header(self) -> bool:
        """Say whether there is a LUKS container."""
        region = {"path": self.path, **self.region()}
        return luks_region.read_header(self._runner, region)[0] is not None

    def _luks(self, state: str, *, check_mode: bool) -> t.Dict[str, t.Any]:
        """Open or close the container like the module luks_image."""
        params = self._params
        header = {name: params["luks"].get(name) for name in (*luks_region.DEFAULTS, "uuid")}
        is_open = state == "open"
        if is_open:
            first = self._keys[0]
            header.update(key_slot=first.slot, iterations=first.iterations)
        asked = {
            **(header if is_open else dict.fromkeys(header)),
            **self.region(),
            "path": self.path,
            "name": params["name"],
            "uuid": self.uuids.get("luks") if is_open else None,
            "key_file": self._keys[0].key if is_open else None,
            "backend": params["backend"],
            "work_dir": params["work_dir"],
            "state": state,
            "read_only": False,
            "force": False,
        }
        return luks_region.ensure(self._runner, asked, check_mode=check_mode)

    def _slots(self) -> t.Dict[int, int]:
        """Return the iterations of each slot."""
        return {key.slot: key.iterations for key in self._keys}

    def _ensure_keys(self, *, formatted: bool) -> None:
        """Add the keys that the container lacks, which an interrupted run can have left out, and pin its header."""
        file = self._params["header"]
        offset, size = self.region().values()
        region = loop_devices.attached(self._runner, path=self.path, offset=offset, size=size)
        with region as device:
            header = metadata.read(self._runner, device)
            if header is None:
                raise SealedRootError(f"{self.path} has lost its LUKS header: tear the build down")
            others = sorted(set(header.slots) - set(self._slots()))
            if others:
                raise SealedRootError(
                    f"{self.path} has a key in slot {others[0]}, which keys does not name: add it there, or tear the"
                    " build down"
                )
            for key in self._keys:
                if key.slot not in header.slots:
                    self._add(device, key, header.hash)
                elif not formatted:
                    self._check_key(device, key)
            if file and not (os.path.exists(file) and pinned_header.is_on(device, file)):
                # The unused slots of the container become empty, as they are in the file.
                pinned_header.make(self._runner, device, file)
                pinned_header.put_on(self._runner, device, file)

    def _add(self, device: str, key: key_plan.WantedKey, hash_: str) -> None:
        cryptsetup.add_key(
            self._runner,
            device,
            unlock=self._keys[0].key,
            key_file=key.key,
            slot=key.slot,
            iterations=key.iterations,
            hash_=hash_,
        )

    def _check_key(self, device: str, key: key_plan.WantedKey) -> None:
        if cryptsetup.opens(self._runner, device, key.key, slot=key.slot) is None:
            raise SealedRootError(
                f"the key in {key.key} does not open slot {key.slot} of {self.path}: correct keys, or tear the build"
                " down"
            )

    def _tag(self, name: str) -> str:
        """Return a tag that blkid(8) finds on the device; empty if there is none."""
        argv = [self._runner.find("blkid"), "--probe", "--match-tag", name, "--output", "value"]
        return self._runner.run([*argv, self.device], check=False, timeout=60).stdout.strip()

    def _check_filesystem(self) -> None:
        """Refuse a file system that is another one than was requested."""
        wanted, kind = self._params["filesystem"], self._tag("TYPE")
        if kind != wanted:
            raise SealedRootError(
                f"{self.device} has {kind or 'no file system'}, not {wanted}: correct filesystem, or tear the build"
                " down"
            )
        asked = self._params["root_uuid"]
        if asked and asked.lower() != self._tag("UUID"):
            raise SealedRootError(
                f"the file system on {self.device} has the UUID {self._tag('UUID')}, not {asked}: correct root_uuid, or"
                " tear the build down"
            )

    def _make_and_mount(self, found: t.Mapping[str, t.Any]) -> None:
        is_new = bool(found["formatted"]) or not self._tag("TYPE")
        if is_new:
            self._make_filesystem()
        self._check_filesystem()
        kind = self._params["filesystem"]
        maker = mkfs.MAKERS[kind]
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        options = ",".join((*MOUNT_OPTIONS, *maker.mount_options))
        argv = [self._runner.find("mount"), "-t", kind, "-o", options, self.device, self.root]
        self._runner.run(argv, timeout=60)
        # Only in a file system that was just made: in any other, a name can be a link of the image.
        if is_new and maker.first_mount:
            shell = ["sh", "-euc", maker.first_mount, "-", self.root]
            self._runner.run([self._runner.find("unshare"), "--mount", *shell], timeout=60)

    def _make_filesystem(self) -> None:
        params = self._params
        request = mkfs.Request(
            device=self.device,
            uuid=params["root_uuid"] or str(uuid.uuid4()),
            size=params["size"],
            features=tuple(params["filesystem_features"]),
            hash_seed=self.uuids.get("directories", ""),
        )
        epoch = str(params["source_date_epoch"])
        env = {"SOURCE_DATE_EPOCH": epoch, "E2FSPROGS_FAKE_TIME": epoch} if epoch != "0" else {}
        mkfs.make(self._runner, params["filesystem"], request, env)


def made(runner: Runner, path: str, mapping: str, source_date_epoch: int) -> RootDisk:
    """Return the disk of a build at *path*, to be closed."""
    params = {
        "work_dir": os.path.dirname(path),
        "name": mapping,
        "state": "closed",
        "size": os.path.getsize(path),
        "uuid": "",
        "luks": {},
        "keys": None,
        "backend": "auto",
        "source_date_epoch": source_date_epoch,
    }
    disk = RootDisk(runner, params)
    if disk.path != path:
        raise SealedRootError(f"{path} is no disk of a build, which is called disk.raw: correct it")
    disk.check()
    return disk


def disk_size(params: Params) -> int:
    """Return the size of the disk in bytes: the requested one, or that of the disk."""
    if params["state"] != "open":
        path = os.path.join(params["work_dir"], "disk.raw")
        if not os.path.isfile(path):
            raise SealedRootError(f"{path} is not there: make and open the disk first")
        return os.path.getsize(path)
    size = layout.whole_mib(layout.size_bytes(params["size"]))
    if not size:
        raise SealedRootError(
            f"'{params['size']}' is no size of a disk: give a number and a unit, such as 4GiB"
        )
    return size


__all__ = ("RootDisk", "disk_size", "made")
