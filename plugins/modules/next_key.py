#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: next_key
short_description: The next keys in a directory of key files, made first and put in place later
version_added: 1.0.0
description:
  - Keeps at hand what opens a machine while its keys are exchanged. C(boot.key.new) is on the disk before the machine
    has that key, and takes the place of C(boot.key) when the machine needs the old one no longer.
  - A generated key is 33 random bytes (264 bits) in base64, without a newline, which can be typed at GRUB
    and used as a key file as it is. A next key that is there already stays as it is.
  - After a kill or a power failure at any moment each key is there as a whole under one of its names, and running the
    task again finishes the job.
  - Symbolic links, files of other users and next keys that others can read are refused.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  path:
    description: The directory; made if missing, and given mode 0700.
    type: path
    required: true
  names:
    description:
      - The file names of the keys. The next key of C(NAME) is C(NAME.new).
      - They are put in place in this order, so the exchange is not complete while the last one has a next key.
    type: list
    elements: str
    required: true
  retired:
    description: Names of keys that go with O(state=promoted) and get no successor. A next key that one has goes, too.
    type: list
    elements: str
    default: []
  backup:
    description: Whether the keys that go with O(state=promoted) stay as C(NAME.old), instead of the one that is there.
    type: bool
    default: false
  state:
    description:
      - V(present) makes the next keys that are missing.
      - V(promoted) puts each in the place of its key.
    type: str
    choices: [present, promoted]
    default: present
"""

EXAMPLES = r"""
- name: Make the next boot key
  sealedroot.image.next_key:
    path: /srv/keys/web-1
    names: [boot.key]

- name: Put it in the place of the old one, which is kept
  sealedroot.image.next_key:
    path: /srv/keys/web-1
    names: [boot.key]
    backup: true
    state: promoted
"""

RETURN = r"""
generated:
  description: The names of the keys that this call made a next one of.
  type: list
  elements: str
  returned: success
  sample: [boot.key]
promoted:
  description: The names of the keys in whose place this call put the next one.
  type: list
  elements: str
  returned: success
retired:
  description: The names of the keys that this call removed.
  type: list
  elements: str
  returned: success
"""

import contextlib
import os
import stat
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container, key_file
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    regular_file,
    sudo,
    synced,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

MODE = 0o700
NEW = ".new"
OLD = ".old"
# The keys of the result, each with the verb of the steps that it lists.
DONE = {"generated": "generate", "promoted": "promote", "retired": "retire"}
Params = t.Mapping[str, t.Any]


class Step(t.NamedTuple):
    """One change: *name* is the name of a key; for ``forget``, of a file."""

    verb: str
    name: str


def check_names(params: Params) -> None:
    """Refuse ambiguous names."""
    names = [*params["names"], *params["retired"]]
    if not params["names"]:
        raise SealedRootError("names is empty: name the keys that are exchanged")
    for name in names:
        key_file.check_name(name)
        if name.endswith((NEW, OLD)):
            raise SealedRootError(
                f"'{name}' is the name of a next or an old key: give the name of the key itself"
            )
        if names.count(name) > 1:
            raise SealedRootError(f"'{name}' is listed twice: list each key once")


def check_owner(path: str, info: os.stat_result) -> None:
    """Refuse a file that another user could change."""
    if info.st_uid != os.geteuid() and info.st_uid != (sudo.caller() or (-1,))[0]:
        raise SealedRootError(
            f"{path} belongs to user {info.st_uid}, and this runs as user {os.geteuid()}: run it as the other one, or"
            " give that to yours (chown)"
        )


def mode_of(path: str) -> t.Optional[int]:
    """Return the mode of the directory; None if it does not exist yet."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(info.st_mode):
        raise SealedRootError(f"{path} is no directory: correct the path")
    check_owner(path, info)
    return stat.S_IMODE(info.st_mode)


def check_files(path: str, params: Params) -> None:
    """Refuse files that this module did not make, or that others may have read."""
    for leaf in files_of(params):
        file = os.path.join(path, leaf)
        with contextlib.suppress(FileNotFoundError):
            info = os.lstat(file)
            if not stat.S_ISREG(info.st_mode):
                raise SealedRootError(f"{file} is not a regular file: remove it first")
            check_owner(file, info)
    for name in params["names"]:
        file = os.path.join(path, name + NEW)
        if os.path.lexists(file):
            key = regular_file.demand(file, most=regular_file.SMALL, follow=False)
            if not key_file.is_generated(key):
                raise SealedRootError(
                    f"{file} is no key that this module made: remove it, and another is made"
                )
            container.check_key_file(file, "next key")


def files_of(params: Params) -> t.List[str]:
    """Return the names of all key files that the directory can have."""
    return [name + end for name in (*params["names"], *params["retired"]) for end in ("", NEW, OLD)]


def parts(leaves: t.Iterable[str], params: Params) -> t.List[str]:
    """Return the files that killed calls left behind."""
    made = files_of(params)
    return sorted(leaf for leaf in leaves if any(key_file.is_part(leaf, it) for it in made))


def kept_in(path: str, leaves: t.AbstractSet[str], params: Params) -> t.Set[str]:
    """Return the keys whose backup an interrupted call has made: key and backup are then one file."""
    return {
        name
        for name in (*params["names"], *params["retired"])
        if {name, name + OLD} <= leaves
        and os.path.samefile(os.path.join(path, name), os.path.join(path, name + OLD))
    }


def plan(
    leaves: t.AbstractSet[str], params: Params, *, kept: t.AbstractSet[str] = frozenset()
) -> t.List[Step]:
    """Return the steps for a directory with the files *leaves*; *kept* is the result of :func:`kept_in`."""
    steps = [Step("forget", leaf) for leaf in parts(leaves, params)]
    names, retired = params["names"], [it for it in params["retired"] if it in leaves]
    fresh = [name for name in names if name + NEW in leaves]
    if params["state"] == "present":
        return [*steps, *(Step("generate", name) for name in names if name not in fresh)]
    for name in names:
        if name not in leaves and name not in fresh:
            raise SealedRootError(
                f"there is neither {name} nor {name}{NEW} in {params['path']}: make the next key first (state: present)"
            )
    going = [name for name in (*retired, *fresh) if name in leaves]
    # The backup of the last key is made last: if it exists, all do. Another one could replace an old key with one that
    # was made since.
    if params["backup"] and names[-1] not in kept:
        steps += [Step("keep", name) for name in going if name not in kept]
    unused = [name + NEW for name in params["retired"] if name + NEW in leaves]
    steps += [Step("forget", leaf) for leaf in unused]
    steps += [Step("retire", name) for name in retired]
    return [*steps, *(Step("promote", name) for name in fresh)]


def leaves_after(leaves: t.AbstractSet[str], steps: t.Iterable[Step]) -> t.Set[str]:
    """Return the files that are there after the steps."""
    after = set(leaves)
    for verb, name in steps:
        if verb == "generate":
            after.add(name + NEW)
        elif verb == "keep":
            after.add(name + OLD)
        elif verb == "promote":
            after.remove(name + NEW)
            after.add(name)
        else:
            after.remove(name)
    return after


def carry_out(path: str, step: Step) -> None:
    """Carry out a step, as a whole or not at all."""
    file = os.path.join(path, step.name)
    if step.verb == "generate":
        key_file.write(file + NEW, key_file.generate(), is_output=True)
    elif step.verb == "keep":
        part = os.path.join(path, key_file.part_name(step.name + OLD))
        os.link(file, part)
        os.rename(part, file + OLD)
    elif step.verb == "promote":
        os.rename(file + NEW, file)
    else:
        os.unlink(file)


def make_directory(path: str) -> None:
    """Make a directory and its missing parents, so that they survive a power failure."""
    if not os.path.isdir(path):
        above = os.path.dirname(path)
        make_directory(above)
        # Another process may be making the same parent for the keys of another machine.
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, MODE)
        synced.sync(above)


def ensure(params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the directory into the requested state."""
    check_names(params)
    path = os.path.abspath(params["path"])
    mode = mode_of(path)
    leaves = set() if mode is None else set(os.listdir(path))
    check_files(path, params)
    steps = plan(leaves, params, kept=kept_in(path, leaves, params))
    if not check_mode:
        make_directory(path)
        if mode != MODE:
            os.chmod(path, MODE)
        sudo.give_made(path)
        # What an interrupted call made may not be on the disk yet.
        synced.sync(path)
        for step in steps:
            carry_out(path, step)
            synced.sync(path)
    after = leaves_after(leaves, steps)
    others = leaves - set(files_of(params)) - set(parts(leaves, params))
    return {
        "changed": mode != MODE or bool(steps),
        **{key: [it.name for it in steps if it.verb == verb] for key, verb in DONE.items()},
        "diff": {
            "before": {"mode": shown(mode), "files": sorted(leaves - others)},
            "after": {"mode": shown(MODE), "files": sorted(after - others)},
        },
    }


def shown(mode: t.Optional[int]) -> str:
    """Return a mode as text."""
    return "absent" if mode is None else f"{mode:04o}"


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "retired": {"type": "list", "elements": "str", "default": []},
            "backup": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "promoted"], "default": "present"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
