# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Container images made by hand from tars: OCI layouts, and the archives that ``docker save`` and skopeo write."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
import typing as t

OCI = "application/vnd.oci.image"
INDEX, MANIFEST, CONFIG = f"{OCI}.index.v1+json", f"{OCI}.manifest.v1+json", f"{OCI}.config.v1+json"
DOCKER = "application/vnd.docker"
REFERENCE = "org.opencontainers.image.ref.name"


def member(name: str, data: bytes = b"", **more: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    """Describe a member of a layer; *more* are fields of tarfile.TarInfo."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), 1700000000, 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def folder(name: str, **more: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    """Describe a directory in a layer."""
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **more})


def link(name: str, target: str, *, hard: bool = False) -> tuple[tarfile.TarInfo, bytes]:
    """Describe a symbolic or hard link in a layer."""
    return member(name, type=tarfile.LNKTYPE if hard else tarfile.SYMTYPE, linkname=target)


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return the tar of a layer."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def pack(data: bytes, compression: str) -> bytes:
    """Compress a layer."""
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    if compression == "zstd":
        return subprocess.run(
            ["zstd", "-cq"], input=data, check=True, capture_output=True, timeout=60
        ).stdout
    return data


@dataclasses.dataclass
class Image:
    """One image: its layers, the lowest first, and the platform that it is for."""

    layers: t.Sequence[bytes]
    reference: str = ""
    architecture: str = "amd64"
    os: str = "linux"
    compression: str = "gzip"
    docker: bool = False

    @property
    def config(self) -> bytes:
        digests = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in self.layers]
        return json.dumps(
            {
                "architecture": self.architecture,
                "os": self.os,
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": digests},
            }
        ).encode()


class Layout:
    """An OCI image layout in a directory."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.entries: list[dict[str, t.Any]] = []

    def blob(self, data: bytes, media_type: str) -> dict[str, t.Any]:
        """Store a blob and return its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def image(self, image: Image) -> dict[str, t.Any]:
        """Store an image and return the descriptor of its manifest."""
        suffix = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}[image.compression]
        kinds = (MANIFEST, CONFIG, f"{OCI}.layer.v1.tar{suffix}")
        if image.docker:
            kinds = (
                f"{DOCKER}.distribution.manifest.v2+json",
                f"{DOCKER}.container.image.v1+json",
                f"{DOCKER}.image.rootfs.diff.tar.gzip",
            )
        manifest = {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": self.blob(image.config, kinds[1]),
            "layers": [self.blob(pack(it, image.compression), kinds[2]) for it in image.layers],
        }
        found = self.blob(json.dumps(manifest).encode(), kinds[0])
        found["platform"] = {"os": image.os, "architecture": image.architecture}
        if image.reference:
            found["annotations"] = {REFERENCE: image.reference}
        return found

    def write(self, *entries: t.Mapping[str, t.Any]) -> pathlib.Path:
        """Write the index of the layout."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        (self.path / "index.json").write_text(json.dumps(index))
        return self.path

    def index(self, *entries: t.Mapping[str, t.Any], reference: str = "") -> dict[str, t.Any]:
        """Store an index of several platforms as a blob and return its descriptor."""
        data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        found = self.blob(data, INDEX)
        if reference:
            found["annotations"] = {REFERENCE: reference}
        return found


def layout(path: pathlib.Path, *images: Image) -> pathlib.Path:
    """Make a layout with these images."""
    it = Layout(path)
    return it.write(*[it.image(image) for image in images])


def oci_archive(directory: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    """Pack a layout as skopeo's oci-archive."""
    subprocess.run(["tar", "-C", directory, "-cf", path, "."], check=True, timeout=60)
    return path


def docker_archive(path: pathlib.Path, *images: Image) -> pathlib.Path:
    """Write what ``docker save`` wrote before Docker 25."""
    manifest = []
    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes) -> str:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            return name

        for image in images:
            config = add(f"{hashlib.sha256(image.config).hexdigest()}.json", image.config)
            layers = [add(f"{hashlib.sha256(it).hexdigest()}/layer.tar", it) for it in image.layers]
            tags = [image.reference] if image.reference else None
            manifest.append({"Config": config, "RepoTags": tags, "Layers": layers})
        add("manifest.json", json.dumps(manifest).encode())
    return path
