# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image of a layout or archive is meant."""

from __future__ import annotations

import hashlib
import json
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._source import oci
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

AMD, ARM = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def it(digest: str = AMD, platform: str = "linux/amd64", *names: str) -> oci.Candidate:
    return oci.Candidate(digest, names, platform)


def test_one_image_needs_no_name() -> None:
    assert oci.choose([it()], "amd64") == it()
    assert oci.choose([it(AMD, "")], "arm64") == it(AMD, "")
    assert oci.choose([it(AMD, "linux/arm64/v8")], "arm64").digest == AMD


def test_the_platform_chooses() -> None:
    found = [it(AMD), it(ARM, "linux/arm64"), it("sha256:" + "c" * 64, "windows/amd64")]
    assert oci.choose(found, "amd64").digest == AMD
    assert oci.choose(found, "arm64").digest == ARM


def test_one_image_of_two_names() -> None:
    found = [it(AMD, "linux/amd64", "web:1"), it(AMD, "linux/amd64", "web:latest")]
    assert oci.choose(found, "amd64").digest == AMD


@pytest.mark.parametrize("reference", ["1", "web:1", "library/web:1", "docker.io/library/web:1"])
def test_a_reference_is_the_name_or_its_end(reference: str) -> None:
    found = [it(AMD, "", "docker.io/library/web:1"), it(ARM, "", "docker.io/library/web:11")]
    assert oci.choose(found, "amd64", reference).digest == AMD


@pytest.mark.parametrize(
    ("found", "options", "says"),
    [
        ([], {}, "holds no image"),
        ([it(AMD, "", "a"), it(ARM, "", "b")], {}, "several images: a (of no platform, sha256:aaa"),
        ([it(AMD, "", "web:1")], {"reference": "eb:1"}, "no image called eb:1, but web:1"),
        ([it()], {"reference": "x"}, "but only images without a name"),
        ([it()], {"digest": ARM}, f"no image with the digest {ARM}, but {AMD}"),
        ([it(AMD, "linux/arm64")], {}, "an image for linux/arm64, and none for linux/amd64"),
        # amd64 begins like it, but is another word.
        ([it(AMD, "linux/amd64p32")], {}, "and none for linux/amd64"),
    ],
)
def test_what_cannot_be_chosen(
    found: list[oci.Candidate], options: dict[str, str], says: str
) -> None:
    with pytest.raises(SealedRootError) as error:
        oci.choose(found, "amd64", **options)
    assert says in str(error.value)


def test_the_digest_chooses_with_and_without_its_algorithm() -> None:
    found = [it(AMD, ""), it(ARM, "")]
    assert oci.choose(found, "amd64", digest=ARM).digest == ARM
    assert oci.choose(found, "amd64", digest="b" * 64).digest == ARM


class Files(dict[str, bytes]):
    """The files of a layout."""

    def add(self, value: t.Any) -> str:
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        self[f"blobs/sha256/{digest}"] = data
        return f"sha256:{digest}"

    def index(self, *manifests: t.Any) -> None:
        self["index.json"] = json.dumps({"manifests": manifests}).encode()


INDEX = "application/vnd.oci.image.index.v1+json"


def test_an_index_in_an_index_and_no_attestation() -> None:
    files = Files()
    entry = {"mediaType": oci.OCI_MANIFEST, "digest": AMD, "platform": {}}
    attestation = {**entry, "platform": {"os": "unknown", "architecture": "unknown"}}
    inner = files.add({"manifests": [entry, attestation]})
    names = {
        "org.opencontainers.image.ref.name": "1",
        "io.containerd.image.name": "docker.io/library/web:1",
    }
    files.index({"mediaType": INDEX, "digest": inner, "annotations": names})
    (found,) = oci.candidates(files.__getitem__)
    assert (found.digest, found.names) == (AMD, ("1", "docker.io/library/web:1"))


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "sha512:" + "a" * 128, "", None])
def test_a_digest_that_leads_elsewhere(digest: str | None) -> None:
    files = Files()
    files.index({"mediaType": INDEX, "digest": digest})
    with pytest.raises(SealedRootError, match="which is no SHA-256"):
        oci.candidates(files.__getitem__)


def test_a_blob_with_another_content() -> None:
    files = Files()
    digest = files.add({"manifests": []})
    files[oci.blob(digest)] += b" "
    files.index({"mediaType": INDEX, "digest": digest})
    with pytest.raises(SealedRootError, match="has another digest"):
        oci.candidates(files.__getitem__)


def test_an_artifact_is_no_container_image() -> None:
    files = Files()
    config = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": files.add({})}
    chosen = oci.Candidate(files.add({"config": config}), (), "", oci.OCI_MANIFEST)
    with pytest.raises(SealedRootError, match="no container image, but a application"):
        oci.manifest(files.__getitem__, chosen, "amd64")


@pytest.mark.parametrize("data", [b"no json", b"[]", b'{"manifests": [1]}'])
def test_an_index_that_is_none(data: bytes) -> None:
    with pytest.raises(SealedRootError, match="index"):
        oci.candidates({"index.json": data}.__getitem__)
