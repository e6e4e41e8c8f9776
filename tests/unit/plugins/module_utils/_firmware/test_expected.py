# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a manifest says of a guest."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
import qmp_peer
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import expected
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

LAUNCH = qmp_peer.launch()
HASHLESS = "without kernel-hashes=on, so from any kernel"


@pytest.mark.parametrize("text", [{"launch": LAUNCH, "name": "x"}, LAUNCH])
def test_files(text: dict[str, t.Any]) -> None:
    assert expected.parse(json.dumps(text).encode(), "x") == LAUNCH


@pytest.mark.parametrize(
    "data", [b"", b"no JSON", b"[]", b"{}", b'{"launch": 1}', b'{"launch": {"sev": "ab"}}', b"\xff"]
)
def test_no_measurements(data: bytes) -> None:
    with pytest.raises(SealedRootError, match="x has no measurements of a launch: give the man"):
        expected.parse(data, "x")


@pytest.mark.parametrize("part", ["firmware", "kernel"])
@pytest.mark.parametrize("digest", [None, "", "ab", 7])
def test_no_digest_of_a_part(part: str, digest: t.Any) -> None:
    launch = changed(f"{part}.sha256", digest)
    with pytest.raises(SealedRootError, match=f"x has no digest of the {part}: give the manifest"):
        expected.parse(json.dumps(launch).encode(), "x")


# Kind, number and type of processors; the digest and the others.
@pytest.mark.parametrize(
    ("kind", "vcpus", "vcpu_type", "digest", "others"),
    [
        ("sev", 1, None, qmp_peer.DIGEST, [HASHLESS]),
        ("sev", 9, "any", qmp_peer.DIGEST, [HASHLESS]),
        ("sev-es", 1, None, b"\x11" * 32, ["with sev-es and 2 processors"]),
        (
            "sev-es",
            1,
            "EPYC-Milan",
            b"\x33" * 32,
            [
                "with sev-es and 1 processor of type EPYC-v4",
                "with sev-es and 2 processors of type EPYC-Milan",
                "with sev-es and 2 processors of type EPYC-v4",
            ],
        ),
    ],
)
def test_guests(
    kind: str, vcpus: int, vcpu_type: str | None, digest: bytes, others: list[str]
) -> None:
    found = expected.guest(LAUNCH, "x", kind=kind, vcpus=vcpus, vcpu_type=vcpu_type)
    assert (found.digest, found.room, sorted(found.others)) == (digest, 0xC00, others)


def test_a_digest_that_any_kernel_has_is_refused() -> None:
    """Debian's firmware starts what is on the disk, unmeasured, where no hash of a kernel is given."""
    bare = changed("sev", qmp_peer.FIRMWARE.hex())
    with pytest.raises(SealedRootError, match="x has a launch digest without the hash of a kernel"):
        expected.guest(bare, "x", kind="sev", vcpus=1, vcpu_type=None)


def changed(path: str, value: t.Any) -> dict[str, t.Any]:
    """Return the measurements with another value; None removes it."""
    found = copy.deepcopy(LAUNCH)
    *way, last = path.split(".")
    inner = found
    for key in way:
        inner = inner[key]
    inner[last] = value
    return found


@pytest.mark.parametrize(
    ("launch", "kind", "vcpu_type", "message"),
    [
        (changed("sev", None), "sev", None, "no launch digest for sev .but for: none"),
        (changed("sev", "ab"), "sev", None, "no launch digest for sev .but for: none"),
        (changed("sev", ["ab"]), "sev", None, "no launch digest for sev .but for: none"),
        (changed("sev_es", "x"), "sev-es", None, "sev-es and 1 processor .but for: none"),
        (changed("sev_es.1", "x"), "sev-es", None, "but for: sev-es and 2 processors.: start the"),
        (LAUNCH, "sev-es", "EPYC", "for sev-es and 1 processor of type EPYC .but for: sev-es and"),
        (changed("by_vcpu_type", []), "sev-es", "EPYC-v4", "of type EPYC-v4 .but for: none"),
        (changed("by_vcpu_type.EPYC-v4", 1), "sev-es", "EPYC-v4", "of type EPYC-v4 .but for: sev"),
        (changed("firmware", "x"), "sev", None, "x does not say how long a secret can be: give"),
        *(
            (changed("firmware.secret_area", area), "sev", None, "does not say how long a secret")
            for area in ({}, {"size": True}, {"size": -5}, {"size": 0}, {"size": 3072.0})
        ),
        *(
            (changed("firmware.sha256", it), kind, None, "x has no digest of the firmware: give th")
            for it in (None, "ab", 7)
            for kind in ("sev", "sev-es")
        ),
    ],
    ids=range(20),
)
def test_refused(launch: dict[str, t.Any], kind: str, vcpu_type: str | None, message: str) -> None:
    with pytest.raises(SealedRootError, match=message):
        expected.guest(launch, "x", kind=kind, vcpus=1, vcpu_type=vcpu_type)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"b": 1}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"a": 2, "b": {"d": 3}}, ["a", "b.d"]),
        ({"a": {}}, {"a": 1}, ["a"]),
    ],
)
def test_differences(before: t.Any, after: t.Any, found: list[str]) -> None:
    assert list(expected.differences(before, after)) == found
