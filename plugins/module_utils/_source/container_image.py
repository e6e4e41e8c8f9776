# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The root in a container image as a tar: its layers are applied in order, whiteouts included.

umoci(1) applies them, and checks their digests. What it does not read (docker archives, zstd) is converted by skopeo(1)
first. The tar is named by the digest of the image's manifest.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    cache,
    oci,
    oci_store,
    tree_tar,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    Runner,
    SealedRootError,
)

COPY_SECONDS = 1800
NAME = "root"


def copy(runner: Runner, scratch: str, source: str, target: str, *options: str) -> None:
    """Convert an image. The policy is about signatures of registries; digests are checked all the same."""
    argv = [runner.find("skopeo"), "--insecure-policy", "copy", "--quiet", *options, source, target]
    # It would take /var/tmp.
    runner.run(argv, timeout=COPY_SECONDS, env={"TMPDIR": scratch})


def layout_of_docker_archive(runner: Runner, path: str, number: int, scratch: str) -> str:
    """Convert an image of a docker archive to a layout."""
    # The path itself could have a colon, which would end it.
    link, target = os.path.join(scratch, "archive"), os.path.join(scratch, "layout")
    os.symlink(os.path.abspath(path), link)
    # Compressed, but hardly: skopeo 1.9 calls the layers of an archive gzip even where it leaves them as they are.
    options = ("--dest-compress-level", "1", "--format", "oci")
    source = f"docker-archive:{link}:@{number}"
    copy(runner, scratch, source, f"oci:{target}:{NAME}", *options)
    return target


def plain_layout(layout: str, chosen: oci.Candidate, scratch: str) -> str:
    """Return a layout with the blobs of another and an index that names one image, as umoci wants it."""
    target = os.path.join(scratch, "layout")
    os.mkdir(target)
    os.symlink(os.path.abspath(os.path.join(layout, "blobs")), os.path.join(target, "blobs"))
    size = os.path.getsize(os.path.join(layout, oci.blob(chosen.digest)))
    for name, content in (
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ("index.json", oci.index(chosen.digest, size, NAME)),
    ):
        with open(os.path.join(target, name), "w", encoding="ascii") as file:
            json.dump(content, file)
    return target


def converted_layout(
    runner: Runner, layout: str, chosen: oci.Candidate, found: oci.Manifest, scratch: str
) -> str:
    """Convert an image of a layout to one with OCI's media types and layers that are not compressed.

    By way of the transport ``dir``, whose files are named by the bare digests: it alone decompresses, and it can
    be laid for one image of any layout.
    """
    first, second, target = (os.path.join(scratch, name) for name in ("first", "second", "layout"))
    os.mkdir(first)
    named = {digest: oci.blob(digest) for digest in (found.config, *found.layers)}
    files = {os.path.basename(name): name for name in named.values()}
    for name, place in {**files, "manifest.json": oci.blob(chosen.digest)}.items():
        os.symlink(os.path.abspath(os.path.join(layout, place)), os.path.join(first, name))
    with open(os.path.join(first, "version"), "w", encoding="ascii") as file:
        file.write("Directory Transport Version: 1.1\n")
    copy(runner, scratch, f"dir:{first}", f"dir:{second}", "--dest-decompress")
    options = ("--dest-oci-accept-uncompressed-layers", "--format", "oci")
    copy(runner, scratch, f"dir:{second}", f"oci:{target}:{NAME}", *options)
    return target


def unpack(runner: Runner, layout: str, scratch: str) -> str:
    """Apply the layers; return the directory."""
    root = os.path.join(scratch, "rootfs")
    os.mkdir(root, 0o755)
    # If no layer has the root directory itself, its time is to be the same each time.
    os.utime(root, (0, 0))
    # Without --keep-dirlinks: like container engines, a directory takes the place of a link of that name.
    argv = [runner.find("umoci"), "raw", "unpack", "--image", f"{layout}:{NAME}", root]
    runner.run(argv, timeout=COPY_SECONDS)
    return root


def make(
    runner: Runner,
    store: oci_store.Store,
    chosen: oci.Candidate,
    params: t.Mapping[str, t.Any],
    scratch: str,
) -> str:
    """Make the tar in the scratch directory."""
    if store.docker:
        layout = layout_of_docker_archive(runner, params["path"], chosen.number, scratch)
    else:
        architecture = architectures.find(params["architecture"]).debian
        found = oci.manifest(store.read, chosen, architecture)
        blobs = [oci.blob(it) for it in (chosen.digest, found.config, *found.layers)]
        whole = store.layout(blobs, scratch)
        if found.plain:
            layout = plain_layout(whole, chosen, scratch)
        else:
            layout = converted_layout(runner, whole, chosen, found, scratch)
    root = unpack(runner, layout, scratch)
    partial = os.path.join(scratch, "root.tar")
    tree_tar.pack(runner, root, tree_tar.scan(root).names, partial)
    return partial


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Return the tar, made if it is not there."""
    cache_dir = os.path.realpath(params["cache_dir"])
    if ":" in cache_dir:
        raise SealedRootError(
            "image_cache_dir has a colon in it, which ends a path for skopeo and umoci"
        )
    store = oci_store.find(runner, params["path"])
    found = (oci.docker_candidates if store.docker else oci.candidates)(store.read)
    # OCI's words for architectures are Go's, and those are Debian's for these.
    architecture = architectures.find(params["architecture"]).debian
    chosen = oci.choose(found, architecture, params["reference"], params["digest"])
    name = f"oci-{chosen.digest.partition(':')[2][:32]}"
    path = os.path.join(cache_dir, f"{name}.tar")
    outcome = {"changed": not os.path.exists(path), "path": path, "digest": chosen.digest}
    if outcome["changed"] and not check_mode:
        with cache.claimed(cache_dir, name) as scratch:
            if not os.path.exists(path):
                cache.keep(make(runner, store, chosen, params, scratch), path)
    return outcome


def named(runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Do so, and let every error name the container image."""
    path = params["path"]
    try:
        return ensure(runner, params, check_mode=check_mode)
    except CommandError as exc:
        said = exc.result.stderr.strip().splitlines() or ["no reason given"]
        tool = os.path.basename(exc.argv[0])
        raise SealedRootError(
            f"the container image {path} cannot be unpacked: {tool} says: {said[-1].strip()}"
        ) from exc
    except SealedRootError as exc:
        raise SealedRootError(f"the container image {path} cannot be used: {exc}") from exc
