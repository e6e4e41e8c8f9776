#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_publish
short_description: Put a proved image under its final name (for the roles)
version_added: 1.0.0
description:
  - Writes C(manifest.json) with the digest of every file beside them, and renames the directory of the image
    to its final name, so that an image is there whole or not at all.
  - The manifest is public. Of C(boot.key) and C(recovery.key) it has neither digest nor size, by which a passphrase
    could be guessed, but the key slot that they open; of C(launch/secret.bin), that it holds the first.
  - Where the module runs by sudo, what is published belongs to who called that, with those directories above it
    that are root's in one of the caller's own.
  - Writes the software in the image to C(bom.json), a bill of materials in the format CycloneDX 1.6.
  - Writes what the manifest says to C(report.html), one page that loads nothing from elsewhere.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  src_dir:
    description: The directory with the finished files.
    type: path
    required: true
  dest:
    description: The final name of the directory, on the same file system.
    type: path
    required: true
  manifest:
    description: What the manifest says besides the files. It must hold no secret, and no digest, size or time of one.
    type: dict
    required: true
  software:
    description: What C(bom.json) is made of; without it there is none.
    type: dict
    suboptions:
      type:
        description: The type of the packages, as package URLs call it.
        type: str
        choices: [alpm, deb, rpm]
        required: true
      packages:
        description:
          - A line for each installed package, with its name, its version and, where it is listed, its architecture.
        type: list
        elements: str
        required: true
      os_release:
        description: The fields of os-release(5) of the image.
        type: dict
        default: {}
      image_uuid:
        description: A UUID of the image alone, such as its LUKS header's, from which the serial number is derived.
        type: str
        required: true
      timestamp:
        description: When it was made, in the notation of RFC 3339; left out by default.
        type: str
  digests:
    description: SHA-256 of files whose digest is known already, such as that of an image that was just examined.
    type: dict
    default: {}
  replace:
    description: Replace an image of that name.
    type: bool
    default: false
  key_files:
    description:
      - The keys, C(boot.key) and C(recovery.key), and the launch secret, C(secret.bin), that are put beside the disk
        just before it is renamed. Before that, no disk of the builder has to have them.
    type: list
    elements: path
    default: []
  lease:
    description:
      - What M(sealedroot.image.build_lease) returned as C(id). The image is published only if the build has its lease
        still, and gives it back.
    type: str
  work_dir:
    description:
      - The directory of the build, if it is on the machine of O(dest). When the image is published, the build is
        released as by M(sealedroot.image.build_teardown).
    type: path
"""

EXAMPLES = r"""
- name: Publish the image
  sealedroot.image.image_publish:
    src_dir: /srv/images/.web-1.partial
    dest: /srv/images/web-1
    manifest:
      name: web-1
"""

RETURN = r"""
files:
  description: SHA-256 and size of each file; of a key file, the key slot that it opens, or the key that it holds.
  type: dict
  returned: success
  sample: {"boot.key": {"slot": 0}, "disk.qcow2": {"sha256": "2cf24dba...", "size": 548405248}}
"""

import contextlib
import hashlib
import json
import os
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import (
    bom,
    image_files,
    lease,
    report,
    teardown,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    mounts,
    secret_search,
    sudo,
    synced,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.digest import sha256
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

BOM = "bom.json"


def describe(
    name: str, content: t.Optional[bytes], *, path: str = "", known: t.Optional[str] = None
) -> t.Dict[str, t.Any]:
    """Return what anyone may know about a file: SHA-256 and size, but for a key only its slot."""
    if name in image_files.KEY_FILES:
        return {"slot": image_files.KEY_FILES[name]}
    if name == image_files.SECRET:
        return {"holds": image_files.BOOT_KEY}
    if content is not None:
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return {"sha256": known or sha256(path), "size": os.path.getsize(path)}


def as_json(content: t.Mapping[str, t.Any]) -> bytes:
    """Return the content of a JSON file of the image."""
    return f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode()


def write(directory: str, name: str, content: bytes, mode: int) -> None:
    """Write a file of the image, in place of one that an interrupted call left."""
    path = os.path.join(directory, name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    synced.write_new(path, content, mode, is_output=True)


def is_in(name: str, src_dir: str, directory: str) -> bool:
    """Say whether a file of the image is in a directory, and in none below it."""
    return os.path.dirname(os.path.join(src_dir, name)) == directory


def bill_of_materials(software: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return the bill of materials of the image."""
    try:
        return bom.bill(
            software["type"],
            software["packages"],
            software["os_release"],
            image_uuid=software["image_uuid"],
            timestamp=software["timestamp"],
        )
    except ValueError as exc:
        raise SealedRootError(
            f"software.image_uuid '{software['image_uuid']}' is no UUID: {exc}"
        ) from exc


def read(path: str) -> bytes:
    """Return the content of a file."""
    with open(path, "rb") as file:
        return file.read()


def check_public(texts: t.Mapping[str, bytes], keys: t.Mapping[str, bytes]) -> None:
    """Refuse to publish a key, or a digest of one, in a file that others may read."""
    found = secret_search.published(texts, keys)
    if found:
        raise SealedRootError(
            f"{'; '.join(found)}: others may read that, so the image is not published. Leave it out of the inputs"
        )


def key_name(path: str) -> str:
    """Return the name that a file with a key has in the image."""
    name, secret = os.path.basename(path), image_files.SECRET
    return secret if name == os.path.basename(secret) else name


def check(params: t.Mapping[str, t.Any], src_dir: str, dest: str) -> None:
    """Refuse an image that cannot be published, or that would be lost then."""
    if not os.path.isdir(src_dir):
        raise SealedRootError(f"{src_dir} does not exist: there is nothing to publish")
    if os.path.lexists(dest) and not params["replace"]:
        raise SealedRootError(f"{dest} exists: remove it, or set replace")
    for other in (src_dir, *([params["work_dir"]] if params["work_dir"] else [])):
        if mounts.is_below(os.path.realpath(other), os.path.realpath(dest)):
            raise SealedRootError(
                f"{other} is in {dest}, which is to be the image: publish it elsewhere"
            )
    if params["work_dir"] and mounts.is_below(
        os.path.realpath(dest), os.path.realpath(params["work_dir"])
    ):
        raise SealedRootError(
            f"{dest} is in {params['work_dir']}, the directory of the build, and would go with it: publish it elsewhere"
        )
    names = [key_name(path) for path in params["key_files"]]
    for path, name in zip(params["key_files"], names):
        container.check_key_file(path)
        if name not in (*image_files.KEY_FILES, image_files.SECRET):
            known = ", ".join([*image_files.KEY_FILES, os.path.basename(image_files.SECRET)])
            raise SealedRootError(f"{path} is no key of an image, which are called {known}")
        if names.count(name) > 1:
            raise SealedRootError(f"key_files has {name} twice: give one of them")


def publish(src_dir: str, dest: str) -> None:
    """Rename the directory; remove an older image of that name only after the new one is in place."""
    parent, name = os.path.split(dest)
    # A name that no image can have. An interrupted call may have left it.
    old = os.path.join(parent, f".{name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(dest):
        os.rename(dest, old)
    os.rename(src_dir, dest)
    synced.sync(parent)
    sudo.give_made(parent)
    shutil.rmtree(old, ignore_errors=True)


def release(runner: Runner, work_dir: str, own: str, dest: str) -> None:
    """Release the build, and with it the only other copy of the keys."""
    try:
        teardown.tear_down(runner, [work_dir], own_lease=own)
    except SealedRootError as exc:
        raise SealedRootError(
            f"{dest} is published, but its build could not be released: {exc}"
        ) from exc


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Publish the image."""
    src_dir, dest = (os.path.abspath(params[name]) for name in ("src_dir", "dest"))
    check(params, src_dir, dest)
    own = params["lease"]
    if own and not check_mode and lease.is_lost(dest, own):
        raise SealedRootError(
            f"this build has lost the lease of {dest} to another or to a teardown, so it is not published:"
            " build it again"
        )
    there = image_files.listed(src_dir)
    for name in (image_files.MANIFEST, image_files.REPORT):
        there.pop(name, None)
    texts: t.Dict[str, bytes] = {}
    if params["software"]:
        texts[BOM] = as_json(bill_of_materials(params["software"]))
    elif BOM in there:
        texts[BOM] = read(there[BOM])
    secret = (*image_files.KEY_FILES, image_files.SECRET)
    keys = {name: read(there[name]) for name in secret if name in there}
    keys.update({key_name(path): read(path) for path in params["key_files"]})
    files = {name: describe(name, content) for name, content in {**texts, **keys}.items()}
    others = {name: path for name, path in there.items() if name not in files}
    for name, path in others.items():
        files[name] = describe(name, None, path=path, known=params["digests"].get(name))
    texts[image_files.REPORT] = report.page({**params["manifest"], "files": files}).encode()
    files[image_files.REPORT] = describe(image_files.REPORT, texts[image_files.REPORT])
    files = dict(sorted(files.items()))
    texts[image_files.MANIFEST] = as_json({**params["manifest"], "files": files})
    check_public({**texts, "the name of a file": "\n".join(files).encode()}, keys)
    if not check_mode:
        for name, content in texts.items():
            write(src_dir, name, content, 0o644)
        for name, key in keys.items():
            write(src_dir, name, key, 0o600)
        below = {os.path.dirname(os.path.join(src_dir, name)) for name in files}
        for directory in sorted(below | {src_dir}, reverse=True):
            sudo.give(
                directory, [os.path.basename(it) for it in files if is_in(it, src_dir, directory)]
            )
        for path in (*others.values(), *sorted(below), src_dir):
            synced.sync(path)
        publish(src_dir, dest)
        if own:
            lease.give_back(dest, own)
        if params["work_dir"]:
            release(runner, params["work_dir"], own or "", dest)
    return {
        "changed": True,
        "files": files,
        "diff": {"before": {"published": False}, "after": {"published": dest}},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "src_dir": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "manifest": {"type": "dict", "required": True},
            "software": {
                "type": "dict",
                "options": {
                    "type": {"type": "str", "choices": ["alpm", "deb", "rpm"], "required": True},
                    "packages": {"type": "list", "elements": "str", "required": True},
                    "os_release": {"type": "dict", "default": {}},
                    "image_uuid": {"type": "str", "required": True},
                    "timestamp": {"type": "str"},
                },
            },
            "digests": {"type": "dict", "default": {}},
            "replace": {"type": "bool", "default": False},
            "key_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
            "lease": {"type": "str"},
            "work_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
