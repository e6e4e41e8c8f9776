# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the integration tests: real modules with real tools on real files."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _root() -> None:
    """Loop devices and mounts need root; a run without it must not look like a pass."""
    if os.geteuid() != 0:
        pytest.fail("the integration tests need root")
