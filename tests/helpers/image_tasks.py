# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tasks of the roles that run in an image, read from the roles."""

from __future__ import annotations

import pathlib
import typing as t

import yaml
from ansible_collections.sealedroot.image.plugins.lookup.families import ROLES

CHROOT = "sealedroot.image.chroot"
RAW = "ansible.builtin.raw"


def tasks(of: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Return the tasks of a list, and of the blocks in it."""
    for it in of or []:
        yield it
        for part in ("block", "rescue", "always"):
            yield from tasks(it.get(part))


def in_image() -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Return each task that runs in an image, with its role."""
    for path in sorted(pathlib.Path(ROLES).glob("*/tasks/*.yml")):
        for task in tasks(yaml.safe_load(path.read_text())):
            if task.get("connection") == CHROOT:
                yield path.parts[-3], task


IN_IMAGE = list(in_image())
OWN = "sealedroot.image."
MODULES = sorted(
    {key.removeprefix(OWN) for _role, task in IN_IMAGE for key in task if key.startswith(OWN)}
)
# Modules of core, besides raw.
CORES = {
    key
    for _role, task in IN_IMAGE
    for key in task
    if "." in key and key != RAW and not key.startswith(OWN)
}
