# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The partition table."""

from __future__ import annotations

import json

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _gpt
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

SIZE = 1 << 30
ESP = "AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE"


def test_script_with_every_guid() -> None:
    table = _gpt.wanted(SIZE, disk_uuid=ESP.lower(), esp_uuid=ESP, root_uuid=ESP)
    assert _gpt.script(table).decode().splitlines() == [
        "label: gpt",
        f"label-id: {ESP}",
        f"start=2048, size=202752, type={_gpt.ESP_TYPE}, name=ESP, uuid={ESP}",
        f"start=204800, size=1890304, type={_gpt.LUKS_TYPE}, name=root, uuid={ESP}",
    ]


def test_only_guids_that_matter_are_compared() -> None:
    have = _gpt.wanted(SIZE, disk_uuid=ESP, esp_uuid=ESP, root_uuid=ESP)
    assert have.fits(_gpt.wanted(SIZE))
    assert have.fits(_gpt.wanted(SIZE, esp_uuid=ESP))
    assert not _gpt.wanted(SIZE).fits(have)
    assert not have.fits(_gpt.wanted(SIZE, disk_uuid=ESP.replace("A", "B")))
    assert not have.fits(_gpt.wanted(2 * SIZE))


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


def test_too_small() -> None:
    least = 133 << 20
    with pytest.raises(SealedRootError, match=f"take at least {least}"):
        _gpt.wanted(least - 1)
    assert _gpt.wanted(least).partitions[1].size == 32 << 20
