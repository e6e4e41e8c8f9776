# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Units of systemd that nothing starts any more, because their links were removed for a container. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import units

# systemd has these started by links of its own, not by an [Install] section, so no preset and no "systemctl enable"
# makes them again (docs/facts.md: links-of-systemd). Any unit of a row starts its first.
_UDEV = (
    *("systemd-udevd.service", "systemd-udev-trigger.service"),
    *("systemd-udevd-control.socket", "systemd-udevd-kernel.socket"),
)
_OTHERS = (
    ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
    ("systemd-logind.service",),
    ("systemd-modules-load.service",),
    ("systemd-random-seed.service",),
    ("systemd-sysctl.service",),
    ("systemd-tmpfiles-setup.service",),
    ("systemd-user-sessions.service",),
    ("getty.target",),
)
_LINK = re.compile(rf"(?:{'|'.join(units.DIRECTORIES)})/[^/]+\.(?:wants|requires|upholds)/([^/]+)")
_AGAIN = (
    "Install their package again (apt-get install --reinstall systemd udev, dnf reinstall systemd systemd-udev), and"
    " pack the root again"
)

Names = t.Collection[str]


def _lost(names: Names, rows: t.Iterable[t.Tuple[str, ...]]) -> t.List[str]:
    """Return the first unit of each row that is there without a link, and that the owner did not replace or mask."""
    linked = {match.group(1) for match in map(_LINK.fullmatch, names) if match}
    return [
        row[0]
        for row in rows
        if any(f"{top}/{row[0]}" in names for top in units.PACKAGE_DIRECTORIES)
        and not linked.intersection(row)
        and not any(f"{top}/{it}" in names for top in units.OWN_DIRECTORIES for it in row)
    ]


def problems(names: Names) -> t.List[str]:
    """Return what no machine works without; *names* are those of the members."""
    return [
        f"Nothing starts {it}: all links to it and to its sockets were removed, as for a container. {_AGAIN}."
        for it in _lost(names, [_UDEV])
    ]


def notes(names: Names) -> t.List[str]:
    """Return what a machine may lack; *names* are those of the members."""
    lost = _lost(names, _OTHERS)
    if not lost:
        return []
    return [
        f"Nothing starts {', '.join(lost)}: the links were removed, as for a container. {_AGAIN}, unless that is"
        " wanted."
    ]


__all__ = ("notes", "problems")
