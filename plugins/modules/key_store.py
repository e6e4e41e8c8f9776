#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: key_store
short_description: Keys of a build in a private tmpfs
description:
  - Mounts a tmpfs of its own and generates keys in it, so that no key ever reaches a disk before it is
    handed over. Unmounting it forgets them.
  - A generated key is 33 random bytes (264 bits) in base64, without a newline, which can be typed at GRUB
    and used as a key file as it is.
  - Keys that are there stay as they are.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
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
          - Generated when left out.
        type: str
"""

EXAMPLES = r"""
- name: Generate a build key and a boot key
  sealedroot.image.key_store:
    path: /var/tmp/build/private
    keys:
      - name: build.key
      - name: boot.key
"""

RETURN = r"""
files:
  description: The path of each key.
  type: dict
  returned: success
  sample: {"boot.key": /var/tmp/build/private/keys/boot.key}
generated:
  description: The names of the keys that this call generated.
  type: list
  elements: str
  returned: success
"""

import base64
import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)

# 33 bytes give 44 characters and no padding (TECH 2).
KEY_BYTES = 33
GRUB_LINE = re.compile(r"[ -~]{1,254}")


def is_mounted(path: str) -> bool:
    """Say whether a tmpfs is mounted on exactly *path*."""
    wanted = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), fields.split()[4])
            if point == wanted and rest.split()[0] == "tmpfs":
                return True
    return False


def mount(runner: Runner, path: str, size: str) -> None:
    """Mount the tmpfs, without swap where the kernel knows that option (6.4 and later)."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    options = f"mode=0700,size={size},nosuid,nodev"
    argv = [runner.find("mount"), "-t", "tmpfs", "-o"]
    if runner.run([*argv, f"{options},noswap", "tmpfs", path], check=False).rc != 0:
        runner.run([*argv, options, "tmpfs", path])


def check_name(name: str) -> None:
    """Refuse a name that is not a plain file name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SealedRootError(f"'{name}' cannot name a key file: use letters, digits, '.', '_', '-'")


def check_content(name: str, content: str) -> None:
    """Refuse a key that could not be typed at GRUB (TECH 1.1), without repeating it."""
    if not GRUB_LINE.fullmatch(content):
        raise SealedRootError(
            f"the content of {name} cannot be typed at GRUB: use 1 to 254 printable ASCII characters"
        )


def write_key(path: str, key: bytes) -> None:
    """Write a new file that nobody else could read at any moment."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key)


def ensure_keys(
    directory: str, keys: t.Sequence[t.Mapping[str, t.Any]], *, check_mode: bool
) -> t.List[str]:
    """Make the keys that are missing; return the names of those, generated ones marked by no content."""
    made = []
    for entry in keys:
        path = os.path.join(directory, entry["name"])
        content = entry["content"]
        if os.path.lexists(path):
            with open(path, "rb") as file:
                if content is not None and file.read() != content.encode("ascii"):
                    raise SealedRootError(f"{path} holds another key already: remove it first")
            continue
        made.append(entry["name"])
        if not check_mode:
            random_key = base64.b64encode(os.urandom(KEY_BYTES))
            write_key(path, random_key if content is None else content.encode("ascii"))
    return made


def ensure(runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the store into the state that is asked for."""
    path, keys = params["path"], params["keys"]
    for entry in keys:
        check_name(entry["name"])
        if entry["content"] is not None:
            check_content(entry["name"], entry["content"])
    was = is_mounted(path)
    directory = os.path.join(path, "keys")
    made: t.List[str] = []
    if params["state"] == "absent":
        if was and not check_mode:
            runner.run([runner.find("umount"), path], timeout=60)
    else:
        if not was and not check_mode:
            mount(runner, path, params["size"])
        if was or not check_mode:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            os.makedirs(os.path.join(path, "run"), mode=0o755, exist_ok=True)
        made = ensure_keys(directory, keys, check_mode=check_mode)
    given = {entry["name"] for entry in keys if entry["content"] is not None}
    return {
        "changed": was != (params["state"] == "present") or bool(made),
        "files": {entry["name"]: os.path.join(directory, entry["name"]) for entry in keys},
        "generated": [name for name in made if name not in given],
        "diff": {"before": {"mounted": was}, "after": {"mounted": params["state"] == "present"}},
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
                },
            },
        },
        supports_check_mode=True,
    )
    try:
        outcome = ensure(ModuleRunner(module), module.params, check_mode=module.check_mode)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
