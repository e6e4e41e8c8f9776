#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: key_store
short_description: Keys of a build in a private tmpfs (for the roles)
version_added: 1.0.0
description:
  - Mounts a tmpfs of its own and generates keys in it, so that no key ever reaches a disk before it is
    handed over. Unmounting it forgets them.
  - A generated key is 33 random bytes (264 bits) in base64, without a newline, which can be typed at GRUB
    and used as a key file as it is.
  - Keys that are there stay as they are.
  - A mount that this module did not make is neither used nor unmounted.
  - Where the kernel knows the mount option C(noswap) (6.4 and later) the keys are never swapped out; on an
    older one use encrypted swap or none.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._secret_arguments
options:
  path:
    description: The mount point of the tmpfs; made if missing, with mode 0700.
    type: path
    required: true
  state:
    description: V(absent) unmounts the tmpfs, keys and all.
    type: str
    choices: [absent, present]
    default: present
  size:
    description: The most that the tmpfs can hold, in the notation of tmpfs(5).
    type: str
    default: 512m
  keys:
    description: The keys to have, in the directory C(keys) of the tmpfs.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The file name of the key.
        type: str
        required: true
      content:
        description:
          - The key itself, at most 254 printable ASCII characters, which is what GRUB can read.
          - Generated when this and O(keys[].src) are left out.
        type: str
      src:
        description:
          - A file of root's with the key, mode 0600 or 0400, to copy into the store.
          - So a key that is about to be replaced in that file stays known.
        type: path
      unless_same_as:
        description:
          - The name of a key before this one in the list. When O(keys[].src) has that key already, there is nothing to
            keep, and whatever the store has under O(keys[].name) stays.
        type: str
  mac:
    description:
      - Other secret inputs of the image. A MAC of each is returned, made with a key of the store, so that only who has
        that key can tell which inputs they were. A digest could be tested by anyone.
    type: dict
    suboptions:
      key:
        description: The name of the key.
        type: str
        required: true
      image:
        description: The name of the image, so that two images with one key have nothing in common.
        type: str
        required: true
      image_uuid:
        description: The UUID that those of the image are derived from; empty when they are random.
        type: str
        default: ""
      root_password_hash:
        description: The hash of root's password; empty when the root keeps its own.
        type: str
        default: ""
      customize:
        description: The digests of the roles and tasks that customise the image.
        type: list
        elements: str
        default: []
"""

EXAMPLES = r"""
- name: Keep the key of a running machine while another takes its place
  sealedroot.image.key_store:
    path: /run/rotation
    keys:
      - name: boot.key
      - name: old.key
        src: /etc/cryptsetup-keys.d/cr_root.key
        unless_same_as: boot.key

- name: Generate a boot key and a recovery key
  sealedroot.image.key_store:
    path: /var/tmp/build/private
    keys:
      - name: boot.key
      - name: recovery.key
"""

RETURN = r"""
files:
  description:
    - The path of each key.
    - One with O(keys[].unless_same_as) is only there when the store has it.
  type: dict
  returned: success
  sample: {"boot.key": /var/tmp/build/private/keys/boot.key}
generated:
  description: The names of the keys that this call generated.
  type: list
  elements: str
  returned: success
same:
  description: The names of the keys whose O(keys[].src) has the key that O(keys[].unless_same_as) names.
  type: list
  elements: str
  returned: success
macs:
  description:
    - HMAC-SHA-256 of each input in O(mac), in hexadecimal, and as C(boot_key) one that says which key made them.
    - The key of the MACs is derived from the one in the store by PBKDF2, with the name of the image as salt.
  type: dict
  returned: when O(mac) is given and the key is there
  sample: {"boot_key": "2c26b46b...", "customize": "fcde2b2e...", "root_password": "baa5a096..."}
root_uuid:
  description: The UUID for the root file system, which nobody can derive from O(mac.image_uuid) without the key.
  type: str
  returned: when O(mac.image_uuid) is given and the key is there
  sample: 5e2fb13d-59b4-4a3f-9d0f-1ec31f9f8e5b
"""

import os
import re
import stat
import typing as t
import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import input_mac
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container, key_file
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts, regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

# The device in the table of mounts, by which the module recognises its own mount.
SOURCE = "sealedroot-keys"
SIZE = re.compile(r"[1-9][0-9]*[kmgKMG%]?")
GRUB_LINE = re.compile(r"[ -~]{1,254}")


def is_mounted(path: str) -> bool:
    """Say whether the store is mounted on *path*; refuse another mount, and one that others can enter."""
    wanted = os.path.realpath(path)
    found = [it for it in mounts.read() if it.path == wanted]
    if not found:
        return False
    top = found[-1]  # a later mount covers an earlier one
    if (top.type, top.source) != ("tmpfs", SOURCE) or not {"nosuid", "nodev"} <= top.options:
        raise SealedRootError(
            f"{path} is a mount point ({top.type}) that this module did not make: use another path, or"
            " unmount it yourself"
        )
    info = os.stat(path)
    if info.st_uid not in (0, os.geteuid()) or stat.S_IMODE(info.st_mode) != 0o700:
        raise SealedRootError(
            f"others can enter {path}, so its keys may be known: use another path, or give it back to"
            f" root (chown root {path}; chmod 0700 {path})"
        )
    return True


def make_private(path: str) -> None:
    """Make a directory, and those above it that are missing, for nobody else: they are those of a build."""
    if not os.path.isdir(path):
        make_private(os.path.dirname(path))
        make_directory(path, 0o700)


def mount(runner: Runner, path: str, size: str) -> None:
    """Mount the tmpfs, without swap if the kernel knows that option (6.4 and later)."""
    make_private(path)
    options = f"mode=0700,size={size},nosuid,nodev"
    argv = [runner.find("mount"), "-t", "tmpfs", "-o"]
    if runner.run([*argv, f"{options},noswap", SOURCE, path], check=False, timeout=60).rc != 0:
        runner.run([*argv, options, SOURCE, path], timeout=60)
    if not is_mounted(path):
        raise SealedRootError(f"mount(8) succeeded, but {path} is no mount point")


def check_content(name: str, content: str) -> None:
    """Refuse a key that cannot be typed at GRUB (docs/facts.md: grub-passphrase), without showing it."""
    if not GRUB_LINE.fullmatch(content):
        raise SealedRootError(
            f"the content of {name} cannot be typed at GRUB: use 1 to 254 printable ASCII characters"
        )


def make_directory(path: str, mode: int) -> None:
    """Make a directory with *mode*, whatever the umask is."""
    if not os.path.isdir(path):
        os.mkdir(path, 0o700)
        os.chmod(path, mode)


class Stored(t.NamedTuple):
    """What happened to the requested keys, by their names."""

    made: t.List[str]
    same: t.List[str]
    absent: t.List[str]


def check_keys(keys: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Refuse names and contents that cannot be used, without showing a content."""
    before: t.List[str] = []
    for entry in keys:
        name, other = entry["name"], entry["unless_same_as"]
        key_file.check_name(name)
        if name in before:
            raise SealedRootError("two of the keys have the same name: one key is listed twice")
        if other is not None and other not in before:
            raise SealedRootError(
                f"unless_same_as of {name} is '{other}', which is no key before it in keys: list that one first"
            )
        if entry["content"] is not None:
            check_content(name, entry["content"])
        before.append(name)


def wanted_key(entry: t.Mapping[str, t.Any]) -> t.Optional[bytes]:
    """Return the given key; None if one is to be generated."""
    if entry["src"] is not None:
        container.check_key_file(entry["src"])
        return regular_file.demand(entry["src"], most=regular_file.SMALL, follow=False)
    return None if entry["content"] is None else entry["content"].encode("ascii")


def ensure_keys(
    directory: str, keys: t.Sequence[t.Mapping[str, t.Any]], *, is_there: bool, check_mode: bool
) -> Stored:
    """Make the keys that are missing; *is_there* says whether the store is mounted."""
    done = Stored([], [], [])
    known: t.Dict[str, t.Optional[bytes]] = {}
    for entry in keys:
        name, wanted = entry["name"], wanted_key(entry)
        path = os.path.join(directory, name)
        have: t.Optional[bytes] = None
        if is_there and os.path.lexists(path):
            if os.path.islink(path) or not os.path.isfile(path):
                raise SealedRootError(f"{path} is not a regular file: remove it first")
            have = regular_file.demand(path, most=regular_file.SMALL, follow=False)
        if wanted is not None and wanted == known.get(entry["unless_same_as"]):
            done.same.append(name)
            if have is None:
                done.absent.append(name)
            continue
        if have is not None and wanted not in (None, have):
            raise SealedRootError(f"{path} holds another key already: remove it first")
        if have is None:
            done.made.append(name)
            if not check_mode:
                have = key_file.generate() if wanted is None else wanted
                key_file.write(path, have)
        known[name] = wanted if have is None else have
    return done


def check_mac(wanted: t.Mapping[str, t.Any]) -> None:
    """Refuse what no MAC or UUID can be made from."""
    key_file.check_name(wanted["key"])
    try:
        uuid.UUID(wanted["image_uuid"] or str(uuid.NAMESPACE_DNS))
    except ValueError as exc:
        raise SealedRootError(
            f"mac.image_uuid '{wanted['image_uuid']}' is no UUID: take what uuidgen prints"
        ) from exc


def keyed(directory: str, wanted: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return the MACs of secret inputs and the root's UUID; empty if the key does not exist."""
    path = os.path.join(directory, wanted["key"])
    if not os.path.exists(path):
        return {}
    with open(path, "rb") as file:
        key = file.read()
    inputs = {name: wanted[name] for name in ("root_password_hash", "customize")}
    found: t.Dict[str, t.Any] = {"macs": input_mac.macs(key, wanted["image"], **inputs)}
    if wanted["image_uuid"]:
        found["root_uuid"] = input_mac.root_uuid(key, wanted["image_uuid"])
    return found


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Bring the store into the requested state."""
    path, keys = params["path"], params["keys"]
    check_keys(keys)
    if params["mac"]:
        check_mac(params["mac"])
    if not SIZE.fullmatch(params["size"]):
        raise SealedRootError(
            f"size '{params['size']}' is none of a tmpfs: give a number, with k, m, g or % behind it"
        )
    names = sorted(entry["name"] for entry in keys)
    was = is_mounted(path)
    directory = os.path.join(path, "keys")
    before = [name for name in names if was and os.path.exists(os.path.join(directory, name))]
    done = Stored([], [], [])
    if params["state"] == "absent":
        if was and not check_mode:
            runner.run([runner.find("umount"), path], timeout=60)
    else:
        if not was and not check_mode:
            mount(runner, path, params["size"])
        if not check_mode:
            make_directory(directory, 0o700)
            make_directory(os.path.join(path, "run"), 0o755)
        done = ensure_keys(directory, keys, is_there=was or not check_mode, check_mode=check_mode)
    found = keyed(directory, params["mac"]) if params["mac"] else {}
    present = params["state"] == "present"
    given = {entry["name"] for entry in keys if entry["content"] or entry["src"]}
    after = [name for name in names if name not in done.absent]
    return {
        "changed": was != present or bool(done.made),
        "files": {name: os.path.join(directory, name) for name in after},
        "generated": [name for name in done.made if name not in given],
        "same": done.same,
        **found,
        "diff": {
            "before": {"mounted": was, "keys": before},
            "after": {"mounted": present, "keys": after if present else []},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "size": {"type": "str", "default": "512m"},
            "keys": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": False,
                "options": {
                    "name": {"type": "str", "required": True},
                    "content": {"type": "str", "no_log": True},
                    "src": {"type": "path"},
                    "unless_same_as": {"type": "str"},
                },
                "mutually_exclusive": [["content", "src"]],
                "required_by": {"unless_same_as": "src"},
            },
            "mac": {
                "type": "dict",
                "options": {
                    "key": {"type": "str", "required": True, "no_log": False},
                    "image": {"type": "str", "required": True},
                    "image_uuid": {"type": "str", "default": ""},
                    "root_password_hash": {"type": "str", "default": "", "no_log": True},
                    "customize": {"type": "list", "elements": "str", "default": [], "no_log": True},
                },
            },
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
