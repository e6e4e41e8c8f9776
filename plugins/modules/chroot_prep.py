#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: chroot_prep
short_description: Let packages be installed in an image without a service starting
version_added: 1.0.0
description:
  - Runs in the image. Puts a C(resolv.conf) that works on the builder into it, a C(policy-rc.d) by which no
    package of Debian's starts a service, and macros by which rpm needs no namespaces for scripts of packages; takes
    them away again, after which everything is as it was.
  - What a package or a task put in place of one of them meanwhile stays. Copies of that C(resolv.conf) that a package
    made below C(/etc) go, so that the image learns nothing of the builder's network.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  resolv_conf:
    description:
      - What the image's C(/etc/resolv.conf) holds meanwhile; left alone when it is empty.
      - The same for both states.
    type: str
    default: ""
  state:
    description: Whether they are in place.
    type: str
    choices: [absent, present]
    default: present
"""

EXAMPLES = r"""
- name: Install a package
  block:
    - name: Let no service start
      sealedroot.image.chroot_prep:
        resolv_conf: "nameserver 192.0.2.53"

    - name: Install it
      ansible.builtin.raw: apt-get update && apt-get install -y nginx
  always:
    - name: Leave the image as it was
      sealedroot.image.chroot_prep:
        resolv_conf: "nameserver 192.0.2.53"
        state: absent
"""

RETURN = r"""
files:
  description: The files that were put in place, or taken away.
  type: list
  elements: str
  returned: success
"""

import os
import stat
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

RESOLV_CONF = "/etc/resolv.conf"
POLICY = "/usr/sbin/policy-rc.d"
MARK = "# Here while the image is built (sealedroot.image)"
# invoke-rc.d(8): 101 is "action forbidden by policy".
POLICY_TEXT = f"#!/bin/sh\n{MARK}\nexit 101\n"
# docs/facts.md: rpm-unshare.
MACROS = "/etc/rpm/macros.sealedroot"
MACROS_TEXT = f"{MARK}\n%__transaction_unshare %{{nil}}\n"


class Place(t.NamedTuple):
    """One file: its path, its content during the build, and where the image's own file is kept meanwhile."""

    path: str
    text: bytes
    mode: int

    @property
    def saved(self) -> str:
        folder, leaf = os.path.split(self.path)
        return os.path.join(folder, f".{leaf}.sealedroot")

    def content(self) -> t.Optional[bytes]:
        """Return the content; None for anything but a regular file."""
        return content(self.path)

    def is_ours(self) -> bool:
        return self.content() == self.text


def content(path: str) -> t.Optional[bytes]:
    """Return the content of a regular file; None for anything else."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        return regular_file.read(path, most=regular_file.SMALL, follow=False)
    except FileNotFoundError:
        return None


def places(root: str, resolv_conf: str) -> t.List[Place]:
    """Return the files to put in place; only those whose directory exists."""
    found = [(POLICY, POLICY_TEXT, 0o755), (MACROS, MACROS_TEXT, 0o644)]
    if resolv_conf.strip():
        found.append((RESOLV_CONF, f"{MARK}\n{resolv_conf.strip()}\n", 0o644))
    rooted = [
        Place(os.path.join(root, path.lstrip("/")), text.encode(), mode)
        for path, text, mode in found
    ]
    return [it for it in rooted if os.path.isdir(os.path.dirname(it.path))]


def put(place: Place) -> None:
    """Put a file in place; the image's own file, or link, is kept beside it."""
    if os.path.lexists(place.path):
        os.rename(place.path, place.saved)
    handle = os.open(place.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, place.mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), place.mode)
        file.write(place.text)


def check(place: Place) -> None:
    """Refuse a file that was edited in place: it has lines of the builder's in it, or the edit would be lost."""
    now = place.content() or b""
    if MARK.encode() in now and now != place.text:
        raise SealedRootError(
            f"{place.path} was edited while it is the build's own: write the whole file instead, as a template or"
            " copy, or replace it by a link"
        )


def take_away(place: Place) -> None:
    """Undo :func:`put`; a file that has replaced ours since then stays."""
    if place.is_ours():
        os.unlink(place.path)
        if os.path.lexists(place.saved):
            os.rename(place.saved, place.path)
    elif os.path.lexists(place.saved):
        os.unlink(place.saved)


def copies(place: Place) -> t.List[str]:
    """Return the copies of a file in its directory and below."""
    size = len(place.text)
    found = []
    for folder, _folders, files in os.walk(os.path.dirname(place.path)):
        for path in (os.path.join(folder, leaf) for leaf in files):
            info = os.lstat(path)
            if path == place.path or not stat.S_ISREG(info.st_mode) or info.st_size != size:
                continue
            if content(path) == place.text:
                found.append(path)
    return sorted(found)


def ensure(params: t.Mapping[str, t.Any], *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Put the files in place, or take them away."""
    wanted = params["state"] == "present"
    all_places = places(root, params["resolv_conf"])
    # While the image's own file is kept beside it, ours is in place, or was replaced.
    there = [it for it in all_places if it.is_ours() or os.path.lexists(it.saved)]
    changing = [it for it in all_places if (it in there) != wanted]
    copied = []
    if not wanted:
        for place in all_places:
            check(place)
        copied = [path for it in all_places if it.path.endswith(".conf") for path in copies(it)]
    if not check_mode:
        for place in changing:
            (put if wanted else take_away)(place)
        for path in copied:
            os.unlink(path)
    names = sorted([*(it.path for it in changing), *copied])
    shown = [f"/{os.path.relpath(path, root)}" for path in names]
    before, after = ("absent", "present") if wanted else ("present", "absent")
    return {
        "changed": bool(shown),
        "files": shown,
        "diff": {"before": dict.fromkeys(shown, before), "after": dict.fromkeys(shown, after)},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "resolv_conf": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, root="/", check_mode=module.check_mode))


if __name__ == "__main__":
    main()
