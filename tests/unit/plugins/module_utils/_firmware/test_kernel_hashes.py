# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of hashes against that of sev-snp-measure, which nobody here wrote."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import kernel_hashes
from sevsnpmeasure.sev_hashes import SevHashes

KERNELS = [b"", b"MZ", b"MZ" + bytes(range(256)) * 100]


@pytest.mark.parametrize("kernel", KERNELS, ids=len)
def test_the_same_as_of_sev_snp_measure(kernel: bytes, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(kernel)
    theirs = SevHashes(str(path), "", "")
    assert kernel_hashes.table(kernel) == theirs.construct_table()
    assert len(kernel_hashes.table(kernel)) == kernel_hashes.SIZE == 176
