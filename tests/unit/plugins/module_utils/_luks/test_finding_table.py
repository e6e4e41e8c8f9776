# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of findings is what people read of it."""

from __future__ import annotations

import pathlib
import re

import yaml
from ansible_collections.sealedroot.image.plugins.module_utils._luks.finding_table import TABLE
from ansible_collections.sealedroot.image.plugins.modules import luks_image_info

PAGE = pathlib.Path(__file__).parents[5] / "docs" / "luks_findings.md"


def rendered(text: str) -> str:
    """Return a format as the page shows it."""
    names = {"it": "name", "number": "n"}

    def name(match: re.Match[str]) -> str:
        word = match.group(1).split(".")[-1]
        return f"*{names.get(word, word.replace('_', ' '))}*"

    return re.sub(r"\{([\w.]+)\}", name, text)


def test_the_page_shows_the_table() -> None:
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `")
    ]
    assert rows == [
        (f"`{row.id}`", row.severity, rendered(row.meaning), rendered(row.cure)) for row in TABLE
    ]


def test_the_module_documents_every_id_by_its_severity() -> None:
    (findings,) = (yaml.safe_load(luks_image_info.RETURN)[key] for key in ("findings",))
    lists = findings["contains"]["id"]["description"][1:]
    documented = {
        re.findall(r"V\(([\w-]+)\)", words)[-1]: re.findall(r"V\(([\w-]+)\)", words)[:-1]
        for words in lists
    }
    assert documented == {
        severity: [row.id for row in TABLE if row.severity == severity]
        for severity in ("danger", "boot", "note")
    }
