# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts in docs/facts.md: each comment that names one finds it, and each is named and has a source."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "facts.md").read_text()
FACTS = dict(re.findall(r"^## ([a-z0-9-]+)\n\n(.*?)(?=\n## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def cited() -> dict[str, list[str]]:
    """Return where each fact is named, by its name."""
    found: dict[str, list[str]] = {}
    for folder in ("plugins", "roles", "playbooks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".yml", ".j2"):
                for name in re.findall(r"docs/facts\.md: ([a-z0-9-]+)", path.read_text()):
                    found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return found


def test_every_fact_that_is_named_is_there() -> None:
    missing = {name: paths for name, paths in cited().items() if name not in FACTS}
    assert not missing


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_is_used_and_has_a_source(name: str) -> None:
    assert name in cited()
    assert "Source: " in FACTS[name] or "](https://" in FACTS[name]
