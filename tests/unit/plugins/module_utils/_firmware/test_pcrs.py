# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registers of a TPM; tests/integration/test_launch.py compares them with a TPM."""

from __future__ import annotations

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import pcrs


def test_without_secure_boot() -> None:
    """What OVMF and machines of Amazon report: docs/facts.md, tpm-registers."""
    said = "65caf8dd1e0ea7a6347b635d2b379c93b9a1351edc2afc3ecda700e534eb3068"
    assert pcrs.without_secure_boot() == said


def test_a_boot_loader() -> None:
    one, other = (pcrs.boot_loader(it * 32) for it in (b"\0", b"\1"))
    assert one != other
    assert len(bytes.fromhex(one)) == 32
