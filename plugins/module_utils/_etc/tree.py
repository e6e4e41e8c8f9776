# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Small configuration files of an image: changes are planned first, then written atomically.

The modules that use this run inside the image, where *root* is ``/``. Links are followed as the kernel does with that
root, whatever *root* is: an absolute one, or one with too many ``..``, leads to a place inside it.
"""

from __future__ import annotations

import os
import shutil
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# The kernel follows 40 links (path_resolution(7)).
_MOST_LINKS = 40


class Tree:
    """A root directory and the planned changes to it; nothing is changed before :meth:`apply`."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._writes: t.Dict[str, t.Tuple[bytes, int]] = {}
        self._removals: t.List[str] = []
        # New symlinks and their targets.
        self._new_links: t.Dict[str, str] = {}
        # Files whose content is secret; the diff does not show it.
        self._secret: t.Set[str] = set()
        # Symlinks that files replace.
        self._links: t.Set[str] = set()

    def path(self, name: str, *, follow: bool = False) -> str:
        """Return the real path of the file *name*, which is absolute in the image.

        The links on the way to it are followed; a link at its end only with *follow*.
        """
        done: t.List[str] = []
        todo, links = _parts(name), 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done[:-1]
                continue
            here = os.path.join(self._root, *done, part)
            if not ((follow or todo) and os.path.islink(here)):
                done.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise SealedRootError(
                    f"{self._label(name)} is a symbolic link that leads in a circle: correct it"
                )
            target = os.readlink(here)
            done = [] if target.startswith("/") else done
            todo += _parts(target)
        return os.path.join(self._root, *done)

    def _label(self, name: str) -> str:
        """Return the path of *name* for messages."""
        return os.path.join(self._root, name.lstrip("/"))

    def _link(self, name: str) -> t.Optional[str]:
        """Return where the symlink *name* leads; None if it is none."""
        path = self.path(name)
        return os.readlink(path) if os.path.islink(path) else None

    def exists(self, name: str) -> bool:
        """Say whether *name* exists, even as a dangling symlink."""
        return os.path.lexists(self.path(name))

    def names(self, name: str) -> t.List[str]:
        """Return the names in the directory *name*; none if there is no directory."""
        path = self.path(name, follow=True)
        return os.listdir(path) if os.path.isdir(path) else []

    def read(self, name: str, *, most: int = regular_file.SMALL) -> t.Optional[bytes]:
        """Return the planned or present content, or None if there is none; refuse more than *most* bytes."""
        if name in self._writes:
            return self._writes[name][0]
        try:
            return regular_file.read(
                self.path(name, follow=True), most=most, label=self._label(name)
            )
        except FileNotFoundError:
            return None

    def text(self, name: str) -> str:
        """Return the content as text; empty if the file is missing."""
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
        """Plan a file; *mode* None keeps the mode of the existing file (0644 for a new one).

        With *replace*, the file replaces a symlink; otherwise the target of the symlink is written.
        """
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        link = replace and self._link(name) is not None
        info = None if link else self._file(name)
        have = stat.S_IMODE(info.st_mode) if info else None
        want = mode if mode is not None else have if have is not None else 0o644
        # A file of another size need not be read.
        is_as_long = name in self._writes or (info and info.st_size == len(data))
        if is_as_long and have == want and self.read(name, most=len(data)) == data:
            return
        self._writes[name] = (data, want)
        if link:
            self._links.add(name)
        if secret:
            self._secret.add(name)

    def _file(self, name: str) -> t.Optional[os.stat_result]:
        """Return stat(2) of a regular file; None if it does not exist. Raise an error for anything else."""
        try:
            handle = regular_file.opened(self.path(name, follow=True), label=self._label(name))
        except FileNotFoundError:
            return None
        try:
            return os.fstat(handle)
        finally:
            os.close(handle)

    def link(self, name: str, target: str) -> None:
        """Plan a symlink, which replaces whatever is there."""
        if self._link(name) != target:
            self._new_links[name] = target

    def remove(self, name: str) -> None:
        """Plan a removal; ignore a missing file."""
        if self.exists(name):
            self._removals.append(name)

    def changed(self) -> t.List[str]:
        """Return the names of all changed files."""
        return sorted({*self._writes, *self._new_links, *self._removals})

    def diff(self) -> t.List[t.Dict[str, str]]:
        """Return the changes as Ansible's diff; a secret file is named, but its content is not shown."""
        shown = []
        for name, (data, _mode) in sorted(self._writes.items()):
            old = b"" if name in self._secret else self._current(name)
            before, after = self._show(name, old), self._show(name, data)
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
            return regular_file.read(
                self.path(name, follow=True), most=regular_file.SMALL, label=self._label(name)
            )
        except FileNotFoundError:
            return b""

    def _show(self, name: str, data: bytes) -> str:
        return "(secret)" if name in self._secret else data.decode("utf-8", "replace")

    def apply(self) -> None:
        """Carry out the planned changes."""
        for name, (data, mode) in self._writes.items():
            regular_file.write(self.path(name, follow=name not in self._links), data, mode=mode)
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

    def directory(self, name: str, mode: int) -> None:
        """Create a directory with *mode* immediately; used just before apply."""
        path = self.path(name, follow=True)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)


def _parts(path: str) -> t.List[str]:
    """Return the components of a path, the first one last."""
    return [it for it in path.split("/") if it not in ("", ".")][::-1]


__all__ = ("Tree",)
