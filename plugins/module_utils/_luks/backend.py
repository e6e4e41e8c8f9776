# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Backends: how the payload of a LUKS container becomes a block device. Only here do hosts differ.

``dm_crypt`` uses the kernel. ``userspace`` needs only FUSE and loop devices. With either, the payload
is the block device node ``/dev/mapper/<name>``.
"""

from __future__ import annotations

import abc
import dataclasses
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    dm_crypt,
    luks1_view,
    metadata,
    userspace,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)


@dataclasses.dataclass(frozen=True)
class Mapping:
    """The container to open: region of a file, header, name and key.

    *header* is the one to write if there is none.
    """

    path: str
    offset: int
    size: int
    name: str
    header: metadata.Header
    key_file: str
    work_dir: str
    read_only: bool


class Backend(abc.ABC):
    """One way to open and close a container."""

    name: str

    @abc.abstractmethod
    def unusable(self, runner: Runner) -> t.Optional[str]:
        """Probe this host; return why it cannot use the backend, or None if it can."""

    @abc.abstractmethod
    def check(self, mapping: Mapping) -> None:
        """Refuse what this backend can never open, before anything is formatted."""

    @abc.abstractmethod
    def state(self, runner: Runner, mapping: Mapping) -> str:
        """Return ``open``, ``closed``, or ``broken`` if an open was interrupted or its daemon died.

        Raise an error if another container is open under this name.
        """

    @abc.abstractmethod
    def open(self, runner: Runner, mapping: Mapping) -> None:
        """Create ``/dev/mapper/<name>``."""

    @abc.abstractmethod
    def close(self, runner: Runner, mapping: Mapping) -> None:
        """Flush and remove ``/dev/mapper/<name>`` and everything below it."""


class DmCrypt(Backend):
    """dm-crypt through cryptsetup."""

    name = "dm_crypt"

    def unusable(self, runner: Runner) -> t.Optional[str]:
        return dm_crypt.unusable(runner)

    def check(self, mapping: Mapping) -> None:
        """Accept everything: dm-crypt opens all that cryptsetup can format."""

    def state(self, runner: Runner, mapping: Mapping) -> str:
        is_open = dm_crypt.is_open(
            runner, path=mapping.path, offset=mapping.offset, name=mapping.name
        )
        return "open" if is_open else "closed"

    def open(self, runner: Runner, mapping: Mapping) -> None:
        dm_crypt.open_mapping(
            runner,
            path=mapping.path,
            offset=mapping.offset,
            size=mapping.size,
            name=mapping.name,
            key_file=mapping.key_file,
            read_only=mapping.read_only,
        )

    def close(self, runner: Runner, mapping: Mapping) -> None:
        dm_crypt.close_mapping(runner, path=mapping.path, offset=mapping.offset, name=mapping.name)


class Userspace(Backend):
    """QEMU's LUKS driver behind a FUSE export and a loop device."""

    name = "userspace"

    def unusable(self, runner: Runner) -> t.Optional[str]:
        return userspace.unusable(runner)

    def check(self, mapping: Mapping) -> None:
        obstacles = luks1_view.obstacles(mapping.header)
        if mapping.header.type == "luks2" and obstacles:
            raise SealedRootError(
                f"the userspace backend reads luks2 by way of luks1, and {'; '.join(obstacles)}:"
                " change that, or use a builder whose kernel has dm-crypt"
            )
        if not os.path.isdir(os.path.dirname(_payload(mapping))):
            raise SealedRootError(f"work_dir {mapping.work_dir} is not a directory: make it first")
        if mapping.key_file and not userspace.takes_key(mapping.key_file):
            raise SealedRootError(
                f"the userspace backend takes only keys that are text, and {mapping.key_file} is"
                " not: use such a key (base64), or a builder whose kernel has dm-crypt"
            )

    def state(self, runner: Runner, mapping: Mapping) -> str:
        return userspace.state(
            runner,
            path=mapping.path,
            offset=mapping.offset,
            payload=_payload(mapping),
            node=f"{mounts.MAPPER_DIR}/{mapping.name}",
        )

    def open(self, runner: Runner, mapping: Mapping) -> None:
        userspace.open_mapping(
            runner,
            path=mapping.path,
            offset=mapping.offset,
            size=mapping.size,
            header=mapping.header,
            payload=_payload(mapping),
            node=f"{mounts.MAPPER_DIR}/{mapping.name}",
            key_file=mapping.key_file,
            read_only=mapping.read_only,
        )

    def close(self, runner: Runner, mapping: Mapping) -> None:
        userspace.close_mapping(
            runner,
            path=mapping.path,
            payload=_payload(mapping),
            node=f"{mounts.MAPPER_DIR}/{mapping.name}",
        )


def _payload(mapping: Mapping) -> str:
    """Return the file that the FUSE export covers; it is in the work directory, so that teardown finds it."""
    if not mapping.work_dir:
        raise SealedRootError("the userspace backend needs work_dir, a directory of this build")
    return os.path.join(os.path.realpath(mapping.work_dir), "payload")


def choose(runner: Runner, wanted: str) -> t.Tuple[Backend, str]:
    """Return the backend to use and the reason; *wanted* is a name or ``auto``."""
    backends: t.Tuple[Backend, ...] = (DmCrypt(), Userspace())
    reasons = []
    for backend in backends:
        if wanted not in ("auto", backend.name):
            continue
        why_not = backend.unusable(runner)
        if why_not is None:
            reasons.append(f"{backend.name} works here")
            return backend, "; ".join(reasons)
        reasons.append(f"{backend.name} does not work here: {why_not}")
    raise SealedRootError(
        "; ".join(reasons) + ". Load dm_crypt on the builder, or give it /dev/fuse and loop devices"
    )


__all__ = ("Backend", "DmCrypt", "Mapping", "Userspace", "choose")
