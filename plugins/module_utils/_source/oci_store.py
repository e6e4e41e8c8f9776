# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Access to the files of a container image: a layout in a directory, or an archive of either kind."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import compressed, formats
from ansible_collections.sealedroot.image.plugins.module_utils._source import oci
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    file_kind,
    nofollow,
    regular_file,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    OutputLimitError,
    Runner,
    SealedRootError,
)

READ_SECONDS = 600


class Store:
    """Where an image is. *docker* is true for an archive from ``docker save`` before Docker 25."""

    docker = False

    def read(self, name: str) -> bytes:
        """Return the content of a small file."""
        raise NotImplementedError

    def layout(self, names: t.Sequence[str], scratch: str) -> str:
        """Return a directory with these files of a layout."""
        raise NotImplementedError


class Directory(Store):
    """An OCI image layout."""

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)
        if not os.path.isfile(os.path.join(path, "index.json")):
            raise SealedRootError(
                "it has no index.json, so it is no OCI image layout. For a directory that holds a root,"
                " set the type of image_source to directory"
            )

    def read(self, name: str) -> bytes:
        return nofollow.read_file(os.path.join(self._path, name), most=oci.LARGEST)

    def layout(self, names: t.Sequence[str], scratch: str) -> str:
        for name in names:
            # A symlink could lead to any file of the builder.
            if not _is_file(os.path.join(self._path, name)):
                raise SealedRootError(f"it lacks {name}: get the whole image again")
        return self._path


class Archive(Store):
    """A tar of a layout (skopeo's oci-archive, and ``docker save`` since Docker 25), or an older docker archive."""

    def __init__(self, runner: Runner, path: str, compression: str) -> None:
        self._runner, self._path = runner, path
        self._tar = runner.find("tar")
        argv = [self._tar, "--list", "--file", path]
        listed = runner.run(argv, check=False, timeout=READ_SECONDS)
        if listed.rc:
            said = (listed.stderr.strip() or "no reason given").splitlines()[0]
            if compression != "none":
                raise SealedRootError(f"it {compressed.no_tar(runner, path, compression, said)}")
            raise SealedRootError(f"it is no archive that tar(1) can read ({said}): get it again")
        self._members: t.Dict[str, str] = {}
        for raw in listed.stdout.splitlines():
            self._members[raw[2:] if raw.startswith("./") else raw] = raw
        self.docker = "index.json" not in self._members
        if self.docker and "manifest.json" not in self._members:
            raise SealedRootError(
                "it has neither index.json nor manifest.json, so it is no archive of a container image. For"
                " the tar of a root, set the type of image_source to tar"
            )

    def read(self, name: str) -> bytes:
        argv = [self._tar, "--extract", "--to-stdout", "--file", self._path, "--", self._raw(name)]
        try:
            data = self._runner.run(argv, timeout=READ_SECONDS, most=oci.LARGEST).stdout
        except OutputLimitError:
            raise SealedRootError(
                f"its {name} is larger than {regular_file.size(oci.LARGEST)}: get the image again"
            ) from None
        return data.encode("utf-8", "surrogateescape")

    def layout(self, names: t.Sequence[str], scratch: str) -> str:
        target = os.path.join(scratch, "unpacked")
        os.mkdir(target)
        argv = [self._tar, "--extract", "--file", self._path, "--directory", target]
        argv += ["--no-same-owner", "--no-same-permissions", "--"]
        # The same layer can occur twice, such as the empty one.
        argv += sorted({self._raw(name) for name in names})
        self._runner.run(argv, timeout=3 * READ_SECONDS)
        # tar also extracts symlinks, devices and FIFOs.
        for name in names:
            if not _is_file(os.path.join(target, self._raw(name))):
                raise SealedRootError(f"its {name} is no file: get the whole image again")
        return target

    def _raw(self, name: str) -> str:
        if name not in self._members:
            raise SealedRootError(f"it lacks {name}: get the whole image again")
        return self._members[name]


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def find(runner: Runner, path: str) -> Store:
    """Return the store of the image at *path*."""
    problem = file_kind.problem(path, file_kind.FILE, file_kind.DIRECTORY)
    if problem:
        raise SealedRootError(f"it {problem}")
    if os.path.isdir(path):
        return Directory(path)
    with open(path, "rb") as file:
        head = file.read(formats.HEAD_BYTES)
    disk = formats.disk(head)
    if disk:
        raise SealedRootError(f"it is {disk}: set the type of image_source to disk")
    return Archive(runner, path, formats.compression(head))


__all__ = ("Archive", "Directory", "Store", "find")
