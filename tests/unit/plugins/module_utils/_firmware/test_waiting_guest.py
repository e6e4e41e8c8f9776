# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What QEMU reports of a guest; with a whole conversation in test_launch_inject.py."""

from __future__ import annotations

import typing as t

import pytest
import qmp_peer
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    expected,
    session,
    waiting_guest,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

SEV = {"enabled": True, **qmp_peer.VERSION, "policy": 11, "state": "launch-secret"}
PRELAUNCH = {"status": "prelaunch", "running": False}
READY = waiting_guest.Reported(session.Platform(1, 51, 3), 11)


@pytest.mark.parametrize(
    ("sev", "status", "found"),
    [
        ({}, {}, READY),
        ({"sev-type": "sev"}, {"status": "paused"}, READY),
        ({"state": "uninit"}, {}, None),
        ({"state": "launch-update"}, {}, None),
    ],
)
def test_ready_or_not(
    sev: dict[str, t.Any], status: dict[str, t.Any], found: waiting_guest.Reported | None
) -> None:
    assert waiting_guest.parse({**SEV, **sev}, {**PRELAUNCH, **status}, policy=11) == found


@pytest.mark.parametrize(
    ("sev", "status", "message"),
    [
        ({"enabled": False}, {}, "the guest has no SEV, so the host would read the key in its"),
        ({"enabled": 1}, {}, "the guest has no SEV"),
        ({"sev-type": "sev-snp"}, {}, "the guest has SEV-SNP, which takes no launch secrets: st"),
        ({"sev-type": None}, {}, "the guest has SEV-SNP"),
        ({"state": "running"}, {}, "the guest is not paused, and takes a secret only before"),
        ({}, {"status": "running"}, "the guest is not paused"),
        ({}, {"status": ["running"]}, "the guest is not paused"),
        ({"state": "launch-update"}, {"status": "running"}, "the guest is not paused"),
        ({"state": "send-update"}, {}, "the guest is in no state that takes a secret: start it"),
        ({"state": None}, {}, "the guest is in no state that takes a secret"),
        ({"state": {}}, {}, "the guest is in no state that takes a secret"),
        ({"policy": True}, {}, "the host reports no valid policy of the guest: do not trust"),
        ({"policy": 1 << 32}, {}, "the host reports no valid policy"),
        ({"build-id": -1}, {}, "the host reports no valid build-id"),
        ({"api-major": "1"}, {}, "the host reports no valid api-major"),
        ({"api-minor": 256}, {}, "the host reports no valid api-minor"),
        ({"policy": 15}, {}, "with the policy 0xf, and its session is for 0xb: start it with"),
    ],
    ids=str,
)
def test_refused(sev: dict[str, t.Any], status: dict[str, t.Any], message: str) -> None:
    with pytest.raises(SealedRootError, match=f"nothing was injected, because .*{message}"):
        waiting_guest.parse({**SEV, **sev}, {**PRELAUNCH, **status}, policy=11)


@pytest.mark.parametrize("answer", [None, [], "x", 1, {}])
def test_answers_of_another_kind(answer: t.Any) -> None:
    with pytest.raises(SealedRootError, match="the guest has no SEV"):
        waiting_guest.parse(answer, PRELAUNCH, policy=11)
    with pytest.raises(SealedRootError, match="the guest is not paused"):
        waiting_guest.parse(SEV, answer, policy=11)


def check(data: bytes, kind: str = "sev", policy: int = 11) -> None:
    measurement = session.Measurement(data[:32], data[32:])
    wanted = expected.guest(qmp_peer.launch(), "x", kind=kind, vcpus=2, vcpu_type=None)
    reported = READY._replace(policy=policy)
    waiting_guest.check(measurement, qmp_peer.TIK, wanted, reported=reported)


def test_the_expected_guest() -> None:
    check(qmp_peer.signed())
    check(qmp_peer.signed(policy=15), "sev-es", 15)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (qmp_peer.signed(qmp_peer.FIRMWARE), "was started without kernel-hashes=on, so from any"),
        (qmp_peer.signed(build=255), "reports build 3 of .* firmware, and build 255 signed the"),
        (qmp_peer.signed(policy=15), "the measurement is that of another firmware, kernel, pol"),
        (bytes(48), "the measurement is that of another firmware"),
    ],
    ids=range(4),
)
def test_another_guest(data: bytes, message: str) -> None:
    with pytest.raises(SealedRootError, match=f"nothing was injected, because .*{message}"):
        check(data)


def test_another_number_of_processors() -> None:
    data = qmp_peer.signed(b"\x11" * 32, policy=15)
    with pytest.raises(SealedRootError, match="guest was started with sev-es and 1 processor: st"):
        check(data, "sev-es", 15)
