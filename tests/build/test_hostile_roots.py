# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A few of the roots of `./run hostile`: nothing of the builder is reached, and the build ends as it should.

That the attacker of these roots wins where nothing holds it is shown by tests/integration/test_hostile_attacker.py.
"""

from __future__ import annotations

import typing as t

import hostile_roots
import hostile_table
import pytest


@pytest.fixture(scope="module")
def base() -> t.Iterator[hostile_roots.Base]:
    with hostile_roots.folder() as folder:
        yield hostile_roots.Base(folder)


@pytest.mark.parametrize("row", hostile_table.select(hostile_table.SHORT), ids=lambda row: row.name)
def test_a_hostile_root_gets_nowhere(row: hostile_roots.Row, base: hostile_roots.Base) -> None:
    verdict = hostile_roots.play(row, base, base.path.parent)
    assert verdict.right, verdict.line
