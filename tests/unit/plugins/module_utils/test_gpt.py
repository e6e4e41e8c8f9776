# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The partition table."""

from __future__ import annotations

import json

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _gpt
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError


def test_parse_other_sector_sizes_and_names() -> None:
    table = _gpt.parse(
        json.dumps(
            {
                "partitiontable": {
                    "label": "gpt",
                    "sectorsize": 4096,
                    "partitions": [{"start": 6, "size": 10, "type": "c12a"}],
                }
            }
        )
    )
    assert table.partitions == (_gpt.Partition("C12A", "", 24576, 40960),)
    with pytest.raises(SealedRootError, match="not one EFI system partition"):
        _gpt.esp_and_luks(table)


def test_another_kind_of_table() -> None:
    with pytest.raises(SealedRootError, match="is dos, not gpt"):
        _gpt.parse('{"partitiontable": {"label": "dos"}}')
