# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Select an image of a container archive or layout: pure functions on its JSON.

The formats: image-layout.md, image-index.md and manifest.md of the OCI image specification, and ``docker save``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import untrusted_json
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Largest index, manifest or configuration, in bytes.
LARGEST = 4 << 20
_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"
OCI_MANIFEST = f"{_OCI}.manifest.v1+json"
_MANIFESTS = (OCI_MANIFEST, f"{_DOCKER}.distribution.manifest.v2+json")
_INDEXES = (f"{_OCI}.index.v1+json", f"{_DOCKER}.distribution.manifest.list.v2+json")
_CONFIGS = (f"{_OCI}.config.v1+json", f"{_DOCKER}.container.image.v1+json")
# umoci reads only these.
_PLAIN_LAYERS = (f"{_OCI}.layer.v1.tar", f"{_OCI}.layer.v1.tar+gzip")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
# Annotations with the image's name, by the tool that wrote the layout; containerd's has the full name.
_NAMES = ("org.opencontainers.image.ref.name", "io.containerd.image.name")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One image: the digest of its manifest (of its configuration in an old docker archive), and its names.

    *number* is its index in a docker archive; *platform* is empty if unknown.
    """

    digest: str
    names: t.Tuple[str, ...]
    platform: str
    media_type: str = ""
    number: int = 0


def blob(digest: t.Any) -> str:
    """Return the path of a blob in a layout; an unchecked digest could name any file."""
    match = _DIGEST.fullmatch(str(digest))
    if not match:
        raise SealedRootError(f"it names a blob by '{digest}', which is no SHA-256")
    return f"blobs/sha256/{match.group(1)}"


def parse(data: bytes, what: str) -> t.Any:
    """Parse JSON."""
    try:
        return untrusted_json.loads(data)
    except ValueError as exc:
        raise SealedRootError(f"its {what} is not JSON") from exc


def _fields(value: t.Any, what: str) -> t.Dict[str, t.Any]:
    if not isinstance(value, dict):
        raise SealedRootError(f"its {what} is not what the OCI image specification says")
    return value


def _list(value: t.Any, what: str) -> t.List[t.Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise SealedRootError(f"its {what} is not what the OCI image specification says")
    return value


def verified(read: t.Callable[[str], bytes], digest: str) -> t.Dict[str, t.Any]:
    """Return the JSON in a blob, after verifying its digest."""
    data = read(blob(digest))
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise SealedRootError(f"its blob {digest} has another digest")
    return _fields(parse(data, f"blob {digest}"), f"blob {digest}")


def candidates(read: t.Callable[[str], bytes]) -> t.List[Candidate]:
    """Return all images of a layout; *read* returns a file of it."""
    images: t.List[Candidate] = []
    seen: t.Set[str] = set()

    def visit(index: t.Mapping[str, t.Any], names: t.Tuple[str, ...]) -> None:
        for entry in _list(index.get("manifests"), "index"):
            entry = _fields(entry, "index")
            notes = _fields(entry.get("annotations") or {}, "index")
            own = tuple(str(notes[key]) for key in _NAMES if notes.get(key)) or names
            digest, kind = str(entry.get("digest")), str(entry.get("mediaType"))
            if kind in _INDEXES and digest not in seen:
                seen.add(digest)
                visit(verified(read, digest), own)
            elif kind in _MANIFESTS:
                platform = _platform(_fields(entry.get("platform") or {}, "index"))
                # The index lists attestations as well.
                if platform != "unknown/unknown":
                    images.append(Candidate(digest, own, platform, kind))

    visit(_fields(parse(read("index.json"), "index.json"), "index.json"), ())
    return images


def docker_candidates(read: t.Callable[[str], bytes]) -> t.List[Candidate]:
    """Return all images of an archive from a ``docker save`` that does not write layouts yet."""
    images = []
    manifest = parse(read("manifest.json"), "manifest.json")
    for number, entry in enumerate(manifest if isinstance(manifest, list) else [manifest]):
        entry = _fields(entry, "manifest.json")
        data = read(str(entry.get("Config")))
        config = _fields(parse(data, "configuration"), "configuration")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        names = tuple(str(name) for name in _list(entry.get("RepoTags"), "manifest.json"))
        images.append(Candidate(digest, names, _platform(config), number=number))
    return images


def _platform(fields: t.Mapping[str, t.Any]) -> str:
    words = [str(fields[key]) for key in ("os", "architecture", "variant") if fields.get(key)]
    return "/".join(words)


def _called(candidate: Candidate, reference: str) -> bool:
    return any(
        name == reference or name.endswith((f":{reference}", f"/{reference}"))
        for name in candidate.names
    )


def _sort(words: t.Iterable[str]) -> str:
    return ", ".join(sorted(set(words)))


def choose(
    found: t.Sequence[Candidate],
    architecture: str,
    reference: t.Optional[str] = None,
    digest: t.Optional[str] = None,
) -> Candidate:
    """Return the selected image; the error message lists the available ones.

    *architecture* is the OCI name, such as amd64; *digest* is the manifest's.
    """
    if not found:
        raise SealedRootError("it holds no image")
    named = [it for it in found if reference is None or _called(it, reference)]
    if not named:
        there = _sort(name for it in found for name in it.names) or "only images without a name"
        raise SealedRootError(
            f"it holds no image called {reference}, but {there}: correct reference in image_source, or leave it out"
        )
    if digest is not None:
        wanted = digest if digest.startswith("sha256:") else f"sha256:{digest}"
        named = [it for it in named if it.digest == wanted]
        if not named:
            there = _sort(it.digest for it in found)
            raise SealedRootError(
                f"it holds no image with the digest {wanted}, but {there}: get the image again, or correct the digest"
            )
    wanted = f"linux/{architecture}"
    fitting = [it for it in named if not it.platform or f"{it.platform}/".startswith(f"{wanted}/")]
    if not fitting:
        raise SealedRootError(
            f"it holds an image for {_sort(it.platform for it in named)}, and none for {wanted}: set"
            " image_architecture, or get the image for that platform"
        )
    if len({it.digest for it in fitting}) > 1:
        there = _sort(
            f"{' or '.join(it.names) or 'without a name'} ({it.platform or 'of no platform'}, {it.digest})"
            for it in fitting
        )
        raise SealedRootError(
            f"it holds several images: {there}. Set reference or digest in image_source to one of them"
        )
    return fitting[0]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of an image: the digests of its blobs, and whether umoci can read it unchanged."""

    config: str
    layers: t.Tuple[str, ...]
    plain: bool


def manifest(read: t.Callable[[str], bytes], chosen: Candidate, architecture: str) -> Manifest:
    """Return the manifest of an image, which must be a container image for that architecture."""
    fields = verified(read, chosen.digest)
    config = _fields(fields.get("config"), "manifest")
    if config.get("mediaType") not in _CONFIGS:
        raise SealedRootError(
            f"it holds no container image, but a {config.get('mediaType')}: get another one"
        )
    layers = [_fields(it, "manifest") for it in _list(fields.get("layers"), "manifest")]
    for it in (config, *layers):
        blob(it.get("digest"))
    platform = _platform(verified(read, str(config["digest"])))
    if platform and not f"{platform}/".startswith(f"linux/{architecture}/"):
        raise SealedRootError(
            f"its image is for {platform}, not for linux/{architecture}: set image_architecture, or get the"
            " image for that platform"
        )
    plain = chosen.media_type == OCI_MANIFEST
    plain = plain and all(it.get("mediaType") in _PLAIN_LAYERS for it in layers)
    return Manifest(str(config["digest"]), tuple(str(it["digest"]) for it in layers), plain)


def index(digest: str, size: int, name: str) -> t.Dict[str, t.Any]:
    """Return the index of a layout with one image of that name."""
    entry = {"mediaType": OCI_MANIFEST, "digest": digest, "size": size}
    entry["annotations"] = {_NAMES[0]: name}
    return {"schemaVersion": 2, "manifests": [entry]}


__all__ = (
    "LARGEST",
    "Candidate",
    "Manifest",
    "blob",
    "candidates",
    "choose",
    "docker_candidates",
    "index",
    "manifest",
    "parse",
    "verified",
)
