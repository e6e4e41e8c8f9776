# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The partition table."""

from __future__ import annotations

import json

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def test_parse_other_sector_sizes_and_names() -> None:
    table = partitions.parse(
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
    assert table.partitions == (partitions.Partition("C12A", "", 24576, 40960),)
    with pytest.raises(SealedRootError, match="not one EFI system partition"):
        partitions.esp_and_luks(table)


def test_another_kind_of_table() -> None:
    with pytest.raises(SealedRootError, match="is dos, not gpt"):
        partitions.parse('{"partitiontable": {"label": "dos"}}')
