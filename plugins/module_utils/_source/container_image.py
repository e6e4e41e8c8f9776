# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Make a tar of the root in a container image: apply its layers in order, whiteouts included.

umoci(1) applies them and verifies their digests. skopeo(1) first converts what umoci cannot read (docker archives,
zstd). The tar is named by the digest of the image's manifest.
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
    """Convert an image. The policy is only about signatures of registries; skopeo verifies digests in any case."""
    argv = [runner.find("skopeo"), "--insecure-policy", "copy", "--quiet", *options, source, target]
    # The default is /var/tmp.
    runner.run(argv, timeout=COPY_SECONDS, env={"TMPDIR": scratch})


def layout_of_docker_archive(runner: Runner, path: str, number: int, scratch: str) -> str:
    """Convert an image of a docker archive to an OCI layout."""
    # A colon in the path would end it, so give skopeo a symlink.
    link, target = os.path.join(scratch, "archive"), os.path.join(scratch, "layout")
    os.symlink(os.path.abspath(path), link)
    # Use the lowest compression level, not none: skopeo 1.9 declares layers as gzip even if it leaves them as they are.
    options = ("--dest-compress-level", "1", "--format", "oci")
    source = f"docker-archive:{link}:@{number}"
    copy(runner, scratch, source, f"oci:{target}:{NAME}", *options)
    return target


def plain_layout(layout: str, chosen: oci.Candidate, scratch: str) -> str:
    """Return a layout that shares the blobs of *layout*, and whose index names one image, as umoci requires."""
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
    """Convert an image of a layout to OCI media types and uncompressed layers.

    This uses the transport ``dir``, whose files are named by the bare digests: only this transport decompresses, and
    such a directory can be made for one image of any layout.
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
    """Apply the layers to a new directory and return it."""
    root = os.path.join(scratch, "rootfs")
    os.mkdir(root, 0o755)
    # Set a fixed time, in case no layer contains the root directory itself.
    os.utime(root, (0, 0))
    # Without --keep-dirlinks, a directory replaces a symlink of the same name, as in container engines.
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
    """Make the tar in the scratch directory, and return its path."""
    if store.docker:
        layout = layout_of_docker_archive(runner, params["path"], chosen.number, scratch)
    else:
        architecture = architectures.find(params["architecture"]).debian
        image_manifest = oci.manifest(store.read, chosen, architecture)
        blobs = [
            oci.blob(it) for it in (chosen.digest, image_manifest.config, *image_manifest.layers)
        ]
        whole = store.layout(blobs, scratch)
        if image_manifest.plain:
            layout = plain_layout(whole, chosen, scratch)
        else:
            layout = converted_layout(runner, whole, chosen, image_manifest, scratch)
    root = unpack(runner, layout, scratch)
    partial = os.path.join(scratch, "root.tar")
    tree_tar.pack(runner, root, tree_tar.scan(root).names, partial)
    return partial


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Return the path of the tar; make it if it does not exist."""
    cache_dir = os.path.realpath(params["cache_dir"])
    if ":" in cache_dir:
        raise SealedRootError(
            "image_cache_dir has a colon in it, which ends a path for skopeo and umoci: choose another"
        )
    store = oci_store.find(runner, params["path"])
    candidates = (oci.docker_candidates if store.docker else oci.candidates)(store.read)
    # OCI uses Go's names of architectures, which are Debian's names for those in the table.
    architecture = architectures.find(params["architecture"]).debian
    chosen = oci.choose(candidates, architecture, params["reference"], params["digest"])
    name = f"oci-{chosen.digest.partition(':')[2][:32]}"
    path = os.path.join(cache_dir, f"{name}.tar")
    outcome = {"changed": not os.path.exists(path), "path": path, "digest": chosen.digest}
    if outcome["changed"] and not check_mode:
        with cache.claimed(cache_dir, name) as scratch:
            if not os.path.exists(path):
                cache.keep(make(runner, store, chosen, params, scratch), path)
    return outcome


def named(runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Call ensure(), and name the container image in every error."""
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
