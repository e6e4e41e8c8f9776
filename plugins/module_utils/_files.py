# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Small configuration files of an image: planned first, then written atomically.

The modules that use this run in the image, so a path is resolved there. *root* is ``/`` but in tests.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import typing as t

BLOCK = 4096


class Tree:
    """A root directory and the changes to it; nothing is touched before :meth:`apply`."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._writes: t.Dict[str, t.Tuple[bytes, int]] = {}
        self._removals: t.List[str] = []
        # Symbolic links to be made, and where they lead to.
        self._new_links: t.Dict[str, str] = {}
        # What to show for a file whose content is a secret.
        self._secret: t.Set[str] = set()
        # Symbolic links that give way to files.
        self._links: t.Set[str] = set()

    def path(self, name: str) -> str:
        """Return where the file *name* (absolute in the image) is."""
        return os.path.join(self._root, name.lstrip("/"))

    def exists(self, name: str) -> bool:
        """Say whether something is there, a dangling link included."""
        return os.path.lexists(self.path(name))

    def read(self, name: str) -> t.Optional[bytes]:
        """Return the content as it will be, or None when there is none."""
        if name in self._writes:
            return self._writes[name][0]
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError):
            return None

    def text(self, name: str) -> str:
        """Return the content as text; a missing file is empty."""
        return (self.read(name) or b"").decode("utf-8", "surrogateescape")

    def write(
        self,
        name: str,
        content: t.Union[str, bytes],
        *,
        mode: t.Optional[int] = None,
        secret: bool = False,
        replace: bool = False,
    ) -> None:
        """Plan a file; *mode* None keeps that of the existing file (0644 for a new one).

        With *replace*, a symbolic link gives way to it; else what the link leads to is written.
        """
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        try:
            info: t.Optional[os.stat_result] = os.stat(self.path(name))
        except FileNotFoundError:
            info = None
        have = stat.S_IMODE(info.st_mode) if info else None
        want = mode if mode is not None else have if have is not None else 0o644
        link = replace and os.path.islink(self.path(name))
        if self.read(name) == data and have == want and not link:
            return
        self._writes[name] = (data, want)
        if link:
            self._links.add(name)
        if secret:
            self._secret.add(name)

    def link(self, name: str, target: str) -> None:
        """Plan a symbolic link, which takes the place of what is there."""
        if not os.path.islink(self.path(name)) or os.readlink(self.path(name)) != target:
            self._new_links[name] = target

    def remove(self, name: str) -> None:
        """Plan a removal; a missing file is none."""
        if self.exists(name):
            self._removals.append(name)

    def changed(self) -> t.List[str]:
        """Return the names of all files that change."""
        return sorted({*self._writes, *self._new_links, *self._removals})

    def diff(self) -> t.List[t.Dict[str, str]]:
        """Return the changes in Ansible's form; a secret is named, never shown."""
        shown = []
        for name, (data, _mode) in sorted(self._writes.items()):
            before, after = self._show(name, self._current(name)), self._show(name, data)
            shown.append(
                {"before_header": name, "after_header": name, "before": before, "after": after}
            )
        states = {
            **{name: ("absent", f"a link to {to}\n") for name, to in self._new_links.items()},
            **dict.fromkeys(self._removals, ("present", "absent")),
        }
        for name, (before, after) in states.items():
            shown.append(
                {"before_header": name, "after_header": name, "before": before, "after": after}
            )
        return shown

    def _current(self, name: str) -> bytes:
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _show(self, name: str, data: bytes) -> str:
        return "(secret)" if name in self._secret else data.decode("utf-8", "replace")

    def apply(self) -> None:
        """Write and remove."""
        for name, (data, mode) in self._writes.items():
            path = self.path(name)
            self._write_atomically(
                path if name in self._links else os.path.realpath(path), data, mode
            )
        for name, target in self._new_links.items():
            path = self.path(name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.lexists(path):
                os.unlink(path)
            os.symlink(target, path)
        for name in self._removals:
            path = self.path(name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    @staticmethod
    def _write_atomically(real: str, data: bytes, mode: int) -> None:
        """Replace the file *real*, owner kept, in one rename."""
        directory = os.path.dirname(real)
        os.makedirs(directory, exist_ok=True)
        owner = os.stat(real) if os.path.exists(real) else None
        handle, partial = tempfile.mkstemp(dir=directory, prefix=".sealedroot-")
        try:
            with os.fdopen(handle, "wb") as file:
                # Zeros stay holes: written, they would be ciphertext that the image carries.
                for start in range(0, len(data), BLOCK):
                    block = data[start : start + BLOCK]
                    if block.count(0) == len(block):
                        file.seek(len(block), os.SEEK_CUR)
                    else:
                        file.write(block)
                file.truncate(len(data))
                os.fchmod(file.fileno(), mode)
                if owner:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.rename(partial, real)
        except OSError:
            os.unlink(partial)
            raise

    def directory(self, name: str, mode: int) -> None:
        """Make a directory with *mode* at once; used just before apply."""
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)


__all__ = ("Tree",)
