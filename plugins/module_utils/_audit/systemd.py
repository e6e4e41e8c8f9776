# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""systemd units in a root: which files are read, in which order, and what starts a unit.

This follows systemd.unit(5). /run is empty before the machine boots, and no generator has run.
"""

from __future__ import annotations

import functools
import posixpath
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import units as etc_units
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import Node, Tree

# The directories of units, as absolute paths.
OWN_DIRECTORIES = tuple(f"/{it}" for it in etc_units.OWN_DIRECTORIES)
DIRECTORIES = tuple(f"/{it}" for it in etc_units.DIRECTORIES)
_WANTS = (".wants", ".requires", ".upholds")
_RULES = tuple(f"/{it}" for it in etc_units.OWN_RULES)


def merged(tree: Tree, directories: t.Sequence[str]) -> t.Dict[str, str]:
    """Return the path of each name in *directories*, sorted by name; the first directory that has a name counts."""
    paths: t.Dict[str, str] = {}
    for directory in directories:
        for name in tree.entries(directory):
            paths.setdefault(name, f"{directory}/{name}")
    return dict(sorted(paths.items()))


def is_masked(tree: Tree, path: str) -> bool:
    """Say whether a file masks others: a symlink to /dev/null, or an empty file."""
    directory, name = posixpath.split(path)
    entry = tree.entries(directory).get(name)
    if entry and entry.is_link:
        target = posixpath.normpath(posixpath.join(directory, tree.link_target(entry)))
        if target == "/dev/null":
            return True
    node: t.Optional[Node] = tree.find(path)
    return bool(node and node.is_file and not node.size)


def _levels(name: str) -> t.List[str]:
    """Return the unit names whose drop-ins apply to a unit, except those of its type."""
    stem, _dot, kind = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    levels = []
    while prefix:
        levels.append(f"{prefix}{at}{instance}.{kind}")
        if instance:
            levels.append(f"{prefix}@.{kind}")
        prefix = prefix[: prefix.rstrip("-").rfind("-") + 1]
    return levels


class Units:
    """The units of the root in *tree*."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._settings: t.Dict[str, t.List[etc_units.Setting]] = {}

    @functools.cached_property
    def _files(self) -> t.Dict[str, str]:
        return merged(self._tree, DIRECTORIES)

    def names(self) -> t.List[str]:
        """Return the names of all units that have a file or drop-ins."""
        return sorted({it[:-2] if it.endswith(".d") else it for it in self._files})

    def path(self, name: str) -> t.Optional[str]:
        """Return the file of a unit, or of its template."""
        prefix, at, rest = name.partition("@")
        template = f"{prefix}@.{rest.rpartition('.')[2]}" if at else name
        return self._files.get(name) or self._files.get(template)

    def is_masked(self, name: str) -> bool:
        """Say whether a unit is masked, so that nothing can start it."""
        path = self.path(name)
        return path is not None and is_masked(self._tree, path)

    def settings(self, name: str) -> t.List[etc_units.Setting]:
        """Return the settings of a unit in the order in which systemd reads them; none if it is masked."""
        if self.is_masked(name):
            return []
        path = self.path(name)
        return [
            it
            for file in [*([path] if path else []), *self.drop_ins(name)]
            for it in self._read(file)
        ]

    def drop_ins(self, name: str) -> t.List[str]:
        """Return the drop-ins of a unit in the order in which systemd reads them: by name."""
        levels, kind = _levels(name), name.rpartition(".")[2]
        directories = [f"{top}/{level}.d" for top in DIRECTORIES for level in levels]
        directories += [f"{top}/{kind}.d" for top in DIRECTORIES]
        files = merged(
            self._tree, [it for it in directories if posixpath.basename(it) in self._files]
        )
        return [
            path
            for file, path in files.items()
            if file.endswith(".conf") and not is_masked(self._tree, path)
        ]

    def starter(self, name: str) -> t.Optional[str]:
        """Return the file with which another unit starts this one.

        Of a distribution's units only the symlinks are read: reading hundreds of files would add nothing.
        """
        for link in self._links.get(name, ()):
            if not is_masked(self._tree, link):
                return link
        return self._asks.file(name)

    def is_enabled(self, name: str) -> bool:
        """Say whether a unit has an [Install] section: systemd then enables it unless systemd.preset(5) forbids it."""
        return any(
            it.section == "Install" and it.key in etc_units.ENABLED_BY for it in self.settings(name)
        )

    @functools.cached_property
    def _links(self) -> t.Dict[str, t.List[str]]:
        """Return the symlinks that start each unit."""
        links_by_unit: t.Dict[str, t.List[str]] = {}
        for directory in (it for it in self._files if it.endswith(_WANTS)):
            links = merged(self._tree, [f"{top}/{directory}" for top in DIRECTORIES])
            for name, path in links.items():
                links_by_unit.setdefault(name, []).append(path)
        return links_by_unit

    @functools.cached_property
    def own(self) -> t.List[etc_units.Setting]:
        """Return the settings that are not a distribution's, of units and, in the form of Wants=, of udev rules."""
        settings = []
        for top in OWN_DIRECTORIES:
            for name, node in self._tree.entries(top).items():
                inside = sorted(self._tree.entries(f"{top}/{name}")) if name.endswith(".d") else []
                files = [f"{name}/{it}" for it in inside if it.endswith(".conf")]
                files += [name] if node.is_file else []
                settings += [it for file in files for it in self._read(f"{top}/{file}")]
        for path in merged(self._tree, _RULES).values():
            if path.endswith(".rules"):
                settings += etc_units.own(path, self._tree.text(path) or "")
        return settings

    @functools.cached_property
    def _asks(self) -> etc_units.Asks:
        return etc_units.Asks(self.own)

    def _read(self, path: str) -> t.List[etc_units.Setting]:
        if path not in self._settings:
            self._settings[path] = etc_units.parse(path, self._tree.text(path) or "")
        return self._settings[path]


__all__ = (
    "DIRECTORIES",
    "OWN_DIRECTORIES",
    "Units",
    "is_masked",
    "merged",
)
