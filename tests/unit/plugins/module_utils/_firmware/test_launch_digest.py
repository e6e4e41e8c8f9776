# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Launch digests; those of sev-snp-measure's own command line are in tests/unit/plugins/modules."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import launch_digest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def test_processors() -> None:
    assert launch_digest.processor(None) == 0
    # CPUID 0x80000001 of family 23, model 1, stepping 2.
    assert launch_digest.processor("EPYC-v4") == 0x800F12
    with pytest.raises(SealedRootError, match=r"knows no vcpu_type 'x': give one of EPYC, EPYC-v1"):
        launch_digest.processor("x")


def test_no_digest_without_a_kernel() -> None:
    with pytest.raises(ValueError, match="a digest without a kernel"):
        launch_digest.digest("sev", "x.fd", "", vcpus=1, signature=0, guest_features=1)
