# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts of a root."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._root import facts


@pytest.mark.parametrize(
    ("versions", "newest"),
    [(["6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-2-cloud-amd64"], "6.1.0-10-amd64"), ([], "")],
)
def test_the_newest_kernel(versions: list[str], newest: str) -> None:
    assert facts.newest(versions) == newest
