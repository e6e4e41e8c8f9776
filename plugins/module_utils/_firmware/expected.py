# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a manifest says of the guest that is expected, in the form that launch_measurement returns: pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import session
from ansible_collections.sealedroot.image.plugins.module_utils._system import untrusted_json
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

_CURE = "give the manifest of an image that takes a launch secret, or what the playbook measure_image wrote"
_KEYS = {"sev": "sev", "sev-es": "sev_es"}


class Expected(t.NamedTuple):
    """The launch digest of the guest, the bytes that its firmware has for a secret, and digests of other guests.

    *others* says of each in which way that guest is another.
    """

    digest: bytes
    room: int
    others: t.Dict[str, bytes]


def parse(data: bytes, name: str) -> t.Dict[str, t.Any]:
    """Return the measurements in the file *name*: those of a manifest, or the whole."""
    try:
        found = untrusted_json.loads(data)
    except ValueError:
        found = None
    if isinstance(found, dict) and "launch" in found:
        found = found["launch"]
    if not isinstance(found, dict) or not all(
        isinstance(found.get(it), dict) for it in ("firmware", "kernel")
    ):
        raise SealedRootError(f"{name} has no measurements of a launch: {_CURE}")
    for part in ("firmware", "kernel"):
        _sha256(found, part, name)
    return found


def guest(
    launch: t.Mapping[str, t.Any],
    name: str,
    *,
    kind: str,
    vcpus: int,
    vcpu_type: t.Optional[str],
) -> Expected:
    """Return what is expected of a guest of this *kind*, with so many processors of a type."""
    digests = dict(_digests(launch, kind, vcpu_type))
    wanted = _said(kind, vcpus, vcpu_type)
    if wanted not in digests:
        known = "; ".join(digests) or "none"
        raise SealedRootError(
            f"{name} has no launch digest for {wanted} (but for: {known}): start the guest as one of these, or measure"
            " the image for this one with the playbook measure_image"
        )
    room = _inner(launch, "firmware", "secret_area", "size")
    # True is a number, too.
    if not isinstance(room, int) or isinstance(room, bool) or room <= 0:
        raise SealedRootError(f"{name} does not say how long a secret can be: {_CURE}")
    firmware = _sha256(launch, "firmware", name)
    digest = digests.pop(wanted)
    others = {f"with {how}": it for how, it in digests.items() if it != digest}
    # Without the kernel's hashes, SEV measures the firmware alone.
    if kind == "sev":
        if digest == firmware:
            raise SealedRootError(
                f"{name} has a launch digest without the hash of a kernel, which a guest with any kernel has: {_CURE}"
            )
        others["without kernel-hashes=on, so from any kernel"] = firmware
    return Expected(digest, room, others)


def differences(before: t.Any, after: t.Any, path: t.Tuple[str, ...] = ()) -> t.Iterator[str]:
    """Name each value that both have and that is not the same."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(set(before) & set(after)):
            yield from differences(before[key], after[key], (*path, key))
    elif before != after:
        yield ".".join(path)


def _said(kind: str, vcpus: t.Union[int, str], vcpu_type: t.Optional[str]) -> str:
    if kind == "sev":
        return "sev"
    processors = "1 processor" if str(vcpus) == "1" else f"{vcpus} processors"
    return f"{kind} and {processors}{f' of type {vcpu_type}' if vcpu_type else ''}"


def _digests(
    launch: t.Mapping[str, t.Any], kind: str, vcpu_type: t.Optional[str]
) -> t.Iterator[t.Tuple[str, bytes]]:
    """Give each digest for guests of a kind, by how the guest is."""
    found: t.Dict[str, t.Any]
    if kind == "sev":
        found = {"": {"": launch.get("sev")}}
    elif vcpu_type is None:
        found = {"": launch.get(_KEYS[kind])}
    else:
        by_type = launch.get("by_vcpu_type")
        found = {
            name: _inner(it, _KEYS[kind])
            for name, it in (by_type if isinstance(by_type, dict) else {}).items()
        }
    for name, by_number in found.items():
        for vcpus, digest in (by_number if isinstance(by_number, dict) else {}).items():
            if _is_digest(digest):
                yield _said(kind, vcpus, name or None), session.parse_digest(digest)


def _sha256(launch: t.Mapping[str, t.Any], part: str, name: str) -> bytes:
    """Return the digest of the firmware or the kernel."""
    found = _inner(launch, part, "sha256")
    if not _is_digest(found):
        raise SealedRootError(f"{name} has no digest of the {part}: {_CURE}")
    return session.parse_digest(found)


def _is_digest(value: t.Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        session.parse_digest(value)
    except SealedRootError:
        return False
    return True


def _inner(value: t.Any, *path: str) -> t.Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


__all__ = ("Expected", "differences", "guest", "parse")
