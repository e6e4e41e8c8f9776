#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: root_download
short_description: A root tar or container image from a URL (for the roles)
description:
  - Fetches a file with curl(1) into a cache. Where a connection broke, in this run or an earlier one, it goes on.
  - A checksum or a signature is required, and the file gets its name in the cache only after it was checked. What has
    another checksum or no good signature is removed.
  - Neither the arguments of a process nor messages have the user, the password or the query of the URL.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._secret_arguments
options:
  url:
    description:
      - Where the file is, by C(https), C(http) or C(file).
      - Passwords can as well be in C(.netrc) of the user who builds; see curl(1).
    type: str
    required: true
  checksum:
    description: What the file must have, C(sha256:) or C(sha512:) and hexadecimal digits.
    type: str
  signature:
    description: The detached signature, a URL or a path on the builder.
    type: str
  keyring:
    description: The public keys of whom may have signed it, a file that gpgv(1) reads; needed with O(signature).
    type: path
  type:
    description: What it is; by default, what its first bytes or its members say.
    type: str
    choices: [disk, oci, tar]
  cache_dir:
    description: Where it is kept.
    type: path
    required: true
  timeout:
    description: The seconds after which it is given up; what came is kept for the next run.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Fetch a root tar
  sealedroot.image.root_download:
    url: https://example.org/roots/web.tar.zst
    checksum: sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
    cache_dir: /var/cache/sealedroot
"""

RETURN = r"""
path:
  description: The file; empty in check mode when it is not in the cache.
  type: str
  returned: success
type:
  description: What it is, V(disk), V(oci) or V(tar).
  type: str
  returned: success
"""

import hashlib
import os
import re
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    cache,
    download as source_download,
    mounted_disk,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.digest import digest_of
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

TYPES = ("disk", "oci", "tar")
LENGTHS = {"sha256": 64, "sha512": 128}
SIGNATURE_BYTES = 1 << 20
LIST_SECONDS = 1800


def check(params: t.Mapping[str, t.Any]) -> t.Tuple[str, str]:
    """Check the options; return algorithm and digest of the checksum, both empty without one."""
    source_download.check_url(params["url"])
    if not params["checksum"] and not params["signature"]:
        raise SealedRootError(
            "nothing says what the file must be: give its checksum, or a signature and the keyring of whom may sign it"
        )
    if bool(params["signature"]) != bool(params["keyring"]):
        raise SealedRootError("signature and keyring go together: give both, or neither")
    if params["keyring"]:
        source_download.check_keyring(params["keyring"])
        if params["signature"].startswith("/"):
            source_download.check_file("signature", params["signature"])
        else:
            source_download.check_url(params["signature"])
    if not params["checksum"]:
        return "", ""
    algorithm, _colon, digest = params["checksum"].lower().partition(":")
    if not re.fullmatch(r"[0-9a-f]+", digest) or len(digest) != LENGTHS.get(algorithm):
        raise SealedRootError(
            f"checksum '{params['checksum']}' is none: write sha256: and 64, or sha512: and 128 hexadecimal digits"
        )
    return algorithm, digest


def cached(cache_dir: str, name: str) -> t.Tuple[str, str]:
    """Return path and type of a file in the cache; its name tells the type."""
    for kind in TYPES:
        path = os.path.join(cache_dir, f"{name}.{kind}")
        if os.path.exists(path):
            return path, kind
    return "", ""


def kind_of(runner: Runner, path: str) -> str:
    """Detect the type: an archive of a container image contains one of two names, and a disk image is not a tar."""
    argv = [runner.find("tar"), "--list", "--file", path]
    listed = runner.run(argv, check=False, timeout=LIST_SECONDS)
    if listed.rc:
        if mounted_disk.is_disk(path):
            return "disk"
        raise SealedRootError(
            "what came is no tar and no disk image: correct the url, or set as in image_source"
        )
    names = {name[2:] if name.startswith("./") else name for name in listed.stdout.splitlines()}
    return "oci" if {"oci-layout", "manifest.json"} & names else "tar"


def get_signature(
    runner: Runner, params: t.Mapping[str, t.Any], scratch: str, seconds: float
) -> str:
    """Return the path of the signature on the builder."""
    where = params["signature"]
    if where.startswith("/"):
        return str(where)
    path = os.path.join(scratch, "signature")
    source_download.fetch(runner, where, path, seconds=seconds, largest=SIGNATURE_BYTES)
    return path


def make_sure(
    runner: Runner,
    params: t.Mapping[str, t.Any],
    partial: str,
    scratch: str,
    wanted: t.Tuple[str, str],
) -> None:
    """Refuse a file with another checksum or without a valid signature."""
    algorithm, digest = wanted
    url = source_download.shown(params["url"])
    if not os.path.exists(partial):
        raise SealedRootError(f"nothing is in {url}: correct the url")
    if algorithm:
        found = digest_of(partial, algorithm)
        if found != digest:
            raise source_download.WrongFileError(
                f"what came from {url} has the {algorithm} {found}, not {digest}: correct the checksum, or the url"
            )
    if params["signature"]:
        signature = get_signature(runner, params, scratch, params["timeout"])
        source_download.verify(runner, partial, signature, params["keyring"], scratch)


def download(
    runner: Runner,
    params: t.Mapping[str, t.Any],
    partial: str,
    scratch: str,
    wanted: t.Tuple[str, str],
) -> None:
    """Fetch and verify. A part left by an earlier run can be of another file; if it proves wrong, start again once."""
    earlier = os.path.exists(partial)
    while True:
        # The part can be the complete file, if an earlier run was interrupted or had no signature to verify it.
        if not (earlier and wanted[0] and digest_of(partial, wanted[0]) == wanted[1]):
            source_download.fetch(runner, params["url"], partial, seconds=params["timeout"])
        try:
            make_sure(runner, params, partial, scratch, wanted)
        except source_download.WrongFileError:
            os.unlink(partial)
            if not earlier:
                raise
            earlier = False
        else:
            return


def name_of(
    runner: Runner, params: t.Mapping[str, t.Any], wanted: t.Tuple[str, str], scratch: str
) -> str:
    """Return the name in the cache, derived from what identifies the file. Only a signature must be fetched for it."""
    # Names in the cache are public, and a URL can contain a password.
    parts = [*wanted, source_download.shown(params["signature"]) if params["signature"] else ""]
    if params["keyring"]:
        parts.append(digest_of(params["keyring"]))
        if not wanted[0]:
            signature = get_signature(runner, params, scratch, params["timeout"])
            parts.append(digest_of(signature))
    return f"url-{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Return the file; fetch it if it is not in the cache."""
    wanted, cache_dir = check(params), params["cache_dir"]
    with tempfile.TemporaryDirectory(prefix="sealedroot-") as scratch:
        name = name_of(runner, params, wanted, scratch)
        path, kind = cached(cache_dir, name)
        partial = os.path.join(cache_dir, f"{name}.partial")
        if not path and not os.path.exists(partial):
            source_download.check_there(params["url"])
        if path or check_mode:
            kind = params["type"] or kind
            return {"changed": not path, "path": path, "type": kind}
        with cache.claimed(cache_dir, name):
            path, kind = cached(cache_dir, name)
            if path:
                return {"changed": False, "path": path, "type": params["type"] or kind}
            download(runner, params, partial, scratch, wanted)
            kind = params["type"] or kind_of(runner, partial)
            path = os.path.join(cache_dir, f"{name}.{kind}")
            cache.keep(partial, path)
    return {"changed": True, "path": path, "type": kind}


def fetch(runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Call ensure(), and say in every error what failed."""
    try:
        return ensure(runner, params, check_mode=check_mode)
    except SealedRootError as exc:
        raise SealedRootError(f"the source cannot be fetched: {exc}") from exc


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            # A URL can contain a password or a token.
            "url": {"type": "str", "required": True, "no_log": True},
            "checksum": {"type": "str"},
            "signature": {"type": "str", "no_log": True},
            "keyring": {"type": "path", "no_log": False},
            "type": {"type": "str", "choices": list(TYPES)},
            "cache_dir": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    run(module, lambda: fetch(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
