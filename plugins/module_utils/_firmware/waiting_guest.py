# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What QEMU reports of a guest that waits for its secret, and what is wrong with it: pure.

All of it comes from the host. Only what the secure processor signed counts (session.py); the rest says why that does
not fit (docs/facts.md: qmp-sev).
"""

from __future__ import annotations

import hmac
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._firmware.expected import (
    Expected,
)
from ansible_collections.sealedroot.image.plugins.module_utils._firmware.session import (
    Measurement,
    Platform,
    signature,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Before its first step, and after a stop.
PAUSED = ("prelaunch", "paused")
RUNNING = "running"
# States of the secure processor's part, in their order; those after them are of a running or migrating guest.
_EARLIER = ("uninit", "launch-update")
_WAITS = "launch-secret"
_LARGEST = {"api-major": 0xFF, "api-minor": 0xFF, "build-id": 0xFF, "policy": 0xFFFFFFFF}


class Reported(t.NamedTuple):
    """The version of the secure processor's firmware, and the policy of the guest, as the host says them."""

    platform: Platform
    policy: int


def parse(sev: t.Any, status: t.Any, *, policy: int) -> t.Optional[Reported]:
    """Return what the answers to query-sev and query-status say; None if the guest is not ready yet.

    A guest that cannot take the secret, or was started with another *policy*, is refused.
    """
    sev, status = (it if isinstance(it, dict) else {} for it in (sev, status))
    state, run = sev.get("state"), status.get("status")
    if sev.get("enabled") is not True:
        raise _refused(
            "the guest has no SEV, so the host would read the key in its memory",
            "start it with a sev-guest object as confidential-guest-support",
        )
    if sev.get("sev-type", "sev") != "sev":
        raise _refused(
            "the guest has SEV-SNP, which takes no launch secrets",
            "start it with SEV or SEV-ES, or let it ask for its key by an attestation report",
        )
    if run not in PAUSED or state == RUNNING:
        raise _refused(
            "the guest is not paused, and takes a secret only before its first step",
            "start it anew, with a new session and -S",
        )
    if state in _EARLIER:
        return None
    if state != _WAITS:
        raise _refused(
            "the guest is in no state that takes a secret",
            "start it anew, with a new session and -S",
        )
    for name, largest in _LARGEST.items():
        value = sev.get(name)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= largest:
            raise _refused(
                f"the host reports no valid {name} of the guest", "do not trust this host"
            )
    if sev["policy"] != policy:
        raise _refused(
            f"the guest was started with the policy 0x{sev['policy']:x}, and its session is for 0x{policy:x}",
            "start it with this policy, or correct policy if this is not its session",
        )
    platform = Platform(sev["api-major"], sev["api-minor"], sev["build-id"])
    return Reported(platform, sev["policy"])


def check(measurement: Measurement, tik: bytes, expected: Expected, *, reported: Reported) -> None:
    """Refuse a guest whose measurement is not the one of the expected guest; say what differs if it can be told."""

    def fits(digest: bytes, platform: Platform) -> bool:
        wanted = signature(
            tik, digest, measurement.nonce, platform=platform, policy=reported.policy
        )
        return hmac.compare_digest(wanted, measurement.signature)

    if fits(expected.digest, reported.platform):
        return
    for how, digest in expected.others.items():
        if fits(digest, reported.platform):
            raise _refused(f"the guest was started {how}", "start it as it was measured")
    for build in range(_LARGEST["build-id"] + 1):
        if fits(expected.digest, reported.platform._replace(build_id=build)):
            raise _refused(
                f"the host reports build {reported.platform.build_id} of the secure processor's firmware, and"
                f" build {build} signed the measurement",
                "do not trust this host before you know why",
            )
    raise _refused(
        "the measurement is that of another firmware, kernel, policy, number or type of processors, or of another"
        " session",
        "correct what was given, make a new session for each start, and if all is right, do not trust this guest",
    )


def _refused(what: str, cure: str) -> SealedRootError:
    return SealedRootError(f"nothing was injected, because {what}: {cure}")


__all__ = ("PAUSED", "RUNNING", "Reported", "check", "parse")
