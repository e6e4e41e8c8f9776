# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files a remote builder sends, and who may read them on the control node."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils import _sent_files

KEYS = {"boot.key": "/keys/boot.key", "build.key": "/b", "recovery.key": "/keys/recovery.key"}
OWN = [{"src": "/keys/boot.key"}, {"src": "/keys/recovery.key"}]
RAW = {"path": "/p/disk.raw", "driver": "raw", "is_flat": True}
QCOW2 = {"path": "/p/disk.qcow2", "driver": "qcow2", "is_flat": False}
LAUNCH = {
    "core": "/p/launch/core.efi",
    "hashes": "/p/launch/hashes.bin",
    "firmware": "/p/launch/firmware.fd",
    "secret": "/keys/secret.bin",
    "measured": {"sev": "56f8"},
}


@pytest.mark.parametrize(
    ("disks", "launch", "more"),
    [
        (
            {"raw": RAW},
            {},
            [{"src": "/p/disk.raw", "mode": "0644", "sha256": "a", "sparse": True}],
        ),
        # Without a digest, nothing is compared.
        (
            {"qcow2": QCOW2, "raw": RAW},
            {},
            [
                {"src": "/p/disk.qcow2", "mode": "0644", "sha256": None, "sparse": False},
                {"src": "/p/disk.raw", "mode": "0644", "sha256": "a", "sparse": True},
            ],
        ),
        # The table has a key in it.
        (
            {},
            LAUNCH,
            [
                {"src": "/p/launch/core.efi", "name": "launch/core.efi", "mode": "0644"},
                {"src": "/p/launch/hashes.bin", "name": "launch/hashes.bin", "mode": "0644"},
                {"src": "/p/launch/firmware.fd", "name": "launch/firmware.fd", "mode": "0644"},
                {"src": "/keys/secret.bin", "name": "launch/secret.bin"},
            ],
        ),
    ],
)
def test_what_is_sent(
    disks: dict[str, t.Any], launch: dict[str, t.Any], more: list[dict[str, t.Any]]
) -> None:
    assert _sent_files.sent(disks, {"disk.raw": "a"}, KEYS, launch) == [*OWN, *more]
