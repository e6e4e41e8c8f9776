# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Fetch a root from a URL into the cache, and give it its name there only after it was verified."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import compressed, formats
from ansible_collections.sealedroot.image.plugins.module_utils._root import tar
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    cache,
    download,
    mounted_disk,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    OutputLimitError,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.digest import digest_of

TYPES = ("disk", "oci", "tar")
LENGTHS = {"sha256": 64, "sha512": 128}
SIGNATURE_BYTES = 1 << 20
LIST_SECONDS = 1800


def check(params: t.Mapping[str, t.Any]) -> t.Tuple[str, str]:
    """Check the options; return algorithm and digest of the checksum, both empty without one."""
    download.check_url(params["url"])
    if not params["checksum"] and not params["signature"]:
        raise SealedRootError(
            "nothing says what the file must be: give its checksum, or a signature and the keyring of whom may sign it"
        )
    if bool(params["signature"]) != bool(params["keyring"]):
        raise SealedRootError("signature and keyring go together: give both, or neither")
    if params["keyring"]:
        download.check_keyring(params["keyring"])
        if params["signature"].startswith("/"):
            download.check_file("signature", params["signature"])
        else:
            download.check_url(params["signature"])
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
    """Detect the type: a disk image is none of the others, and an archive of a container image has one of two names."""
    # tar takes the zeros with which many disks begin for the end of an archive, and lists nothing.
    if mounted_disk.is_disk(path):
        return "disk"
    argv = [runner.find("tar"), "--list", "--file", path]
    try:
        listed = runner.run(argv, check=False, timeout=LIST_SECONDS, most=tar.MOST_LISTED)
    except OutputLimitError:
        raise SealedRootError(
            f"the names in it take more than {regular_file.size(tar.MOST_LISTED)}, so it is no tar of a root: correct"
            " the url"
        ) from None
    if listed.rc or not listed.stdout:
        with open(path, "rb") as file:
            packed = formats.compression(file.read(formats.HEAD_BYTES))
        if packed != "none":
            raise SealedRootError(
                "what came "
                + (
                    compressed.broken(runner, path, packed)
                    or f"is compressed with {packed}, and no tar is in it: fetch and unpack it yourself, and give the"
                    " disk by its path"
                )
            )
        raise SealedRootError(
            "what came is no tar and no disk image: correct the url, or set as in image_source"
        )
    names = {name[2:] if name.startswith("./") else name for name in listed.stdout.splitlines()}
    return "oci" if {"oci-layout", "manifest.json"} & names else "tar"


class Fetch:
    """One file that is to be fetched; *wanted* is what :func:`check` returned."""

    def __init__(
        self, runner: Runner, params: t.Mapping[str, t.Any], wanted: t.Tuple[str, str], scratch: str
    ) -> None:
        self._runner, self._params, self._scratch = runner, params, scratch
        self._algorithm, self._digest = wanted

    def _signature(self) -> str:
        """Return the path of the signature on the builder."""
        where = self._params["signature"]
        if where.startswith("/"):
            return str(where)
        path, seconds = os.path.join(self._scratch, "signature"), self._params["timeout"]
        download.fetch(self._runner, where, path, seconds=seconds, largest=SIGNATURE_BYTES)
        return path

    def name(self) -> str:
        """Return the name in the cache, made of what identifies the file. Only a signature must be fetched for it."""
        signature, keyring = self._params["signature"], self._params["keyring"]
        # Names in the cache are public, and a URL can contain a password.
        parts = [self._algorithm, self._digest, download.shown(signature) if signature else ""]
        if keyring:
            parts.append(digest_of(keyring))
            if not self._algorithm:
                parts.append(digest_of(self._signature()))
        return f"url-{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"

    def _make_sure(self, partial: str) -> None:
        """Refuse a file with another checksum or without a valid signature."""
        url, algorithm = download.shown(self._params["url"]), self._algorithm
        if not os.path.exists(partial):
            raise SealedRootError(f"nothing is in {url}: correct the url")
        if algorithm:
            found = digest_of(partial, algorithm)
            if found != self._digest:
                raise download.WrongFileError(
                    f"what came from {url} has the {algorithm} {found}, not {self._digest}: correct the checksum, or"
                    " the url"
                )
        if self._params["signature"]:
            keyring, signature = self._params["keyring"], self._signature()
            download.verify(self._runner, partial, signature, keyring, self._scratch)

    def fetch(self, partial: str) -> None:
        """Fetch and verify. A part of an earlier run can be of another file; if it proves wrong, start again once."""
        url, seconds = self._params["url"], self._params["timeout"]
        earlier = os.path.exists(partial)
        while True:
            # The part can be the complete file, if an earlier run was interrupted or had no signature to verify it.
            is_whole = earlier and self._algorithm
            if not (is_whole and digest_of(partial, self._algorithm) == self._digest):
                download.fetch(self._runner, url, partial, seconds=seconds)
            try:
                self._make_sure(partial)
            except download.WrongFileError:
                os.unlink(partial)
                if not earlier:
                    raise
                earlier = False
            else:
                return


def _ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    wanted, cache_dir = check(params), params["cache_dir"]
    with tempfile.TemporaryDirectory(prefix="sealedroot-") as scratch:
        asked = Fetch(runner, params, wanted, scratch)
        name = asked.name()
        path, kind = cached(cache_dir, name)
        partial = os.path.join(cache_dir, f"{name}.partial")
        if not path and not os.path.exists(partial):
            download.check_there(params["url"])
        if path or check_mode:
            kind = params["as"] or kind
            return {"changed": not path, "path": path, "type": kind}
        with cache.claimed(cache_dir, name):
            path, kind = cached(cache_dir, name)
            if path:
                return {"changed": False, "path": path, "type": params["as"] or kind}
            asked.fetch(partial)
            kind = params["as"] or kind_of(runner, partial)
            path = os.path.join(cache_dir, f"{name}.{kind}")
            cache.keep(partial, path)
    return {"changed": True, "path": path, "type": kind}


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Return path and type of the file; fetch it if it is not in the cache. The path is empty if it was not fetched."""
    try:
        return _ensure(runner, params, check_mode=check_mode)
    except SealedRootError as exc:
        raise SealedRootError(f"the source cannot be fetched: {exc}") from exc


__all__ = ("TYPES", "ensure")
