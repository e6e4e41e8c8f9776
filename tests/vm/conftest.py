# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests that need the builder VM."""

from __future__ import annotations

import typing as t

import builder_vm
import pytest


@pytest.fixture(scope="session")
def vm() -> t.Iterator[builder_vm.BuilderVm]:
    """The builder VM; one that runs already is used and left running."""
    with builder_vm.started() as running:
        yield running
