# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the build of a hostile root is judged; the builds themselves are `./run hostile` and tests/build."""

from __future__ import annotations

import pathlib

import hostile_roots
import hostile_table
import pytest
from builds import Place

REFUSED = 'fatal: [image]: FAILED! => {"msg": "/run of the image is\\nnot a directory"}'
TRIED = "TRIED sh 0 0"


class Canaries:
    """As many secrets as the judge looks for."""

    def __init__(self) -> None:
        self.secrets = {"variable": "5ec2e7"}


@pytest.mark.parametrize(
    ("status", "output", "log", "wrong"),
    [
        (2, REFUSED, TRIED, ""),
        (2, REFUSED, "", "sh was not tried"),
        (2, REFUSED.replace("directory", "file"), TRIED, "refused for another reason"),
        (0, "", TRIED, "it is built"),
        (2, f"{REFUSED}\nTraceback (most recent call last):", TRIED, "Traceback"),
        (2, f"{REFUSED}\nMODULE FAILURE", TRIED, "MODULE FAILURE"),
        (2, f"{REFUSED}\n\x1b[31m", TRIED, "a terminal obeys"),
    ],
)
def test_how_a_build_has_to_end(status: int, output: str, log: str, wrong: str) -> None:
    row = hostile_roots.Row("name", lambda root: None, "is not a directory", ("sh",))
    verdict = hostile_roots.Verdict("name")
    hostile_roots.judge(verdict, row, status, output, log)
    assert len(verdict.wrong) == bool(wrong)
    assert verdict.right is not bool(wrong)
    assert wrong in " ".join(verdict.wrong)


def test_a_build_that_must_succeed() -> None:
    row = hostile_roots.Row("name", lambda root: None)
    for status, right in ((0, True), (2, False)):
        verdict = hostile_roots.Verdict("name")
        hostile_roots.judge(verdict, row, status, REFUSED if status else "", "")
        assert verdict.right is right


@pytest.mark.parametrize(
    ("output", "log", "found"),
    [
        ("ok: [image]", "TRIED sh 0 0", []),
        ('"stderr_lines": ["REACHED env in sh", "x"]', "", ["env in sh"]),
        ("", "REACHED key in ls\nREACHED key in ls", ["key in ls"]),
        ("5ec2e7", "", ["secret of the variable"]),
        ("", "KEY 0000= /etc/x", []),
        ("", "KEY a2V5= /etc/x", ["boot.key"]),
    ],
)
def test_what_is_a_win(tmp_path: pathlib.Path, output: str, log: str, found: list[str]) -> None:
    (tmp_path / "out/image").mkdir(parents=True)
    (tmp_path / "out/image/boot.key").write_text("a2V5=")
    assert hostile_roots.wins(output, log, Canaries(), Place(tmp_path)) == found  # type: ignore[arg-type]


def test_the_table() -> None:
    names = [row.name for row in hostile_table.ROWS]
    assert len(names) == len(set(names)) >= 27
    assert [row.name for row in hostile_table.select(["sh"])] == ["sh"]
    assert {row.name for row in hostile_table.select(hostile_table.SHORT)} == set(
        hostile_table.SHORT
    )
    with pytest.raises(SystemExit, match="no root is called absent"):
        hostile_table.select(["absent"])


def test_what_the_attacker_knows() -> None:
    assert hostile_roots.perl({"a": ["x", 1]}) == "{'a' => ['x', 1]}"
