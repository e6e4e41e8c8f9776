# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the boot matrix says of its rows; playing one takes minutes, which is ./run matrix."""

from __future__ import annotations

import pathlib

import matrix
import pytest


@pytest.fixture
def results() -> list[matrix.Result]:
    one = matrix.Row("trixie", "dracut", "ext4", secure_boot=True)
    other = matrix.Row("forky", "dracut", "ext4")
    day = "2026-11-25"
    return [
        matrix.Result(one, matrix.BOOTED, 21.4, 90.6, 300.2, "6.12.1-1", "2.12-9", day),
        matrix.Result(other, "failed: a|b", measured=day),
    ]


def test_rows_are_found_by_their_names() -> None:
    assert matrix.select([]) == list(matrix.ROWS)
    assert len({row.name for row in matrix.ROWS}) == len(matrix.ROWS)
    last, first = matrix.ROWS[-1], matrix.ROWS[0]
    assert matrix.select([last.name, first.name]) == [first, last]
    with pytest.raises(SystemExit, match="no row is called buster-xfs; there are\n  bookworm-"):
        matrix.select([first.name, "buster-xfs"])


def test_every_release_has_every_file_system_and_both_generators() -> None:
    suites = {row.suite for row in matrix.ROWS}
    assert suites == {"bookworm", "trixie", "forky"}
    for suite in suites:
        found = {row.filesystem for row in matrix.ROWS if row.suite == suite}
        assert found == {"btrfs", "ext4", "xfs"}
        found = {row.initramfs for row in matrix.ROWS if row.suite == suite}
        assert found == {"dracut", "initramfs-tools"}
        assert any(row.secure_boot for row in matrix.ROWS if row.suite == suite)


def test_the_table(results: list[matrix.Result]) -> None:
    lines = matrix.table(result.cells() for result in results).splitlines()
    assert {line.count("|") for line in lines} == {len(matrix.HEAD) + 1}
    assert lines[2] == (
        "| trixie | dracut | ext4 | on | 6.12.1-1 | 2.12-9 | 21 | 91 | 300 | 2026-11-25 | booted |"
    )
    assert lines[3] == "| forky | dracut | ext4 | off |  |  |  |  |  | 2026-11-25 | failed: a/b |"
    assert [result.booted for result in results] == [True, False]
    assert results[0].row.name == "trixie-dracut-ext4-sb"


def test_the_page_has_the_last_result_of_each_row(
    results: list[matrix.Result], tmp_path: pathlib.Path
) -> None:
    page = tmp_path / "page.md"
    before, _begin, _rest = matrix.PAGE.read_text().partition(matrix.BEGIN)
    page.write_text(f"{before}{matrix.BEGIN}\nNothing was measured yet.\n{matrix.END}\n")
    matrix.write_page(results[1:], page)
    matrix.write_page(results[:1], page)
    results[1].verdict = matrix.BOOTED
    gone = matrix.Result(matrix.Row("buster", "dracut", "ext4"))
    matrix.write_page([results[1], gone], page)
    text = page.read_text()
    assert text.startswith(before)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines] == [
        *("| Debian", "| ---", "| trixie", "| forky"),
    ]
    assert lines[2] == matrix.table([results[0].cells()]).splitlines()[-1]
    assert lines[3].endswith("| booted |")
    assert "Nothing was measured" not in text
    assert text.rstrip().endswith(matrix.END)
