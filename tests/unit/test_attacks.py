# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every attack of tests/attacks has to say of itself, and how a run of them is judged."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import types
import typing as t

import attack_images
import attack_report
import attacks
import hostile
import pytest
from attacks import Attack, Outcome

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "attacks"
ALL = attacks.load(FOLDER)
KINDS = {kind.name for kind in attack_images.KINDS}


@pytest.mark.parametrize("name", ALL)
def test_an_attack_says_what_it_is(name: str) -> None:
    attack = ALL[name]
    assert attack.host
    assert attack.guest.startswith("cannot" if attack.open_because else "must")
    assert attack.why
    assert set(attack.images) <= KINDS
    assert attack.images
    assert (attack.play is None) == attack.passive
    assert bool(attack.open_because) == bool(attack.combine_with)


def test_the_threat_model_names_attacks_that_there_are() -> None:
    text = attack_report.PAGE.read_text().partition(attack_report.BEGIN)[0]
    named = {
        name
        for line in text.splitlines()
        for said in re.findall(r"attacks? ((?:`\w+`(?:, )?)+)", line)
        for name in re.findall(r"`(\w+)`", said)
    }
    assert named
    assert named - set(ALL) == set()


def test_a_copy_of_a_disk_has_the_same_holes(tmp_path: pathlib.Path) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.write(b"begin")
        # The end is zeros that were written.
        file.seek(64 << 20)
        file.write(bytes(4 << 20))
    image: t.Any = types.SimpleNamespace(raw=disk)
    stage = attacks.Stage(image)
    stage.folder.rmdir()
    stage.folder = tmp_path
    found = stage.copy("copy.raw")
    assert found.read_bytes() == disk.read_bytes()
    assert found.stat().st_blocks * 512 < 1 << 20


def test_an_unknown_attack_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no attack is called warp_drive"):
        attacks.load(FOLDER, ["warp_drive"])


def result(
    *, won: bool, defended: bool = True, played: bool = True, **attack: t.Any
) -> attack_report.Result:
    outcome = Outcome(won, "seen", 3.2) if played else None
    it = Attack(images=("x",), host="does a|b", guest="must", **attack)
    return attack_report.Result("it", it, "x", defended, outcome, "" if played else "broken")


@pytest.mark.parametrize(
    ("it", "right"),
    [
        (result(won=False), True),
        (result(won=True), False),
        (result(won=True, open_because="so", combine_with="that"), True),
        # What is documented as open and is not, is documented wrongly.
        (result(won=False, open_because="so", combine_with="that"), False),
        # An attack that does nothing where nothing defends proves nothing.
        (result(won=False, defended=False), False),
        (result(won=True, defended=False), True),
        (result(won=False, played=False), False),
        (result(won=True, defended=False, played=False), False),
    ],
)
def test_how_an_attack_must_end(it: attack_report.Result, right: bool) -> None:
    assert it.right is right
    assert attack_report.finish([it], write=False) == (0 if right else 1)


def test_the_summary_counts_attacks_on_the_product(capsys: pytest.CaptureFixture[str]) -> None:
    opened = result(won=True, open_because="so", combine_with="that")
    others = [result(won=True, defended=False), result(won=False)]
    named = [
        attack_report.dataclasses.replace(it, name=f"{it.attack.open_because}2") for it in [opened]
    ]
    assert attack_report.finish([*others, *named], write=False) == 0
    assert "attacks: 2 tried, 1 stopped, 1 open (documented)\n" in capsys.readouterr().out


def test_the_table_is_written_between_its_marks(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{attack_report.BEGIN}\nold\n{attack_report.END}\nafter\n")
    attack_report.finish([result(won=False)], write=True, page=page)
    text = page.read_text()
    assert text.startswith(f"before\n{attack_report.BEGIN}\n")
    assert text.endswith(f"{attack_report.END}\nafter\n")
    assert re.search(r"\| it \| does a/b \| must \| x: stopped after 3 s, seen \([-\d]+\) \|", text)
    # What is not played again stays.
    other = dataclasses.replace(result(won=False), name="other")
    attack_report.finish([other], write=True, page=page)
    attack_report.finish([dataclasses.replace(other, kind="y")], write=True, page=page)
    rows = page.read_text().splitlines()
    assert sum("| it | does a/b | must | x: stopped" in row for row in rows) == 1
    assert sum("x: stopped" in row and "y: stopped" in row for row in rows) == 1
    assert "old" not in text


def header(encryption: str) -> bytearray:
    """Return both copies of the metadata of a LUKS2 header."""
    area = {"segments": {"0": {"offset": "4096", "encryption": encryption}}}
    made = bytearray()
    for _copy in range(2):
        made += (b"\0" * 8 + (16384).to_bytes(8, "big")).ljust(4096, b"\0")
        made += json.dumps(area).encode().ljust(12288, b"\0")
    return made


def test_a_forged_header_has_the_same_in_both_copies() -> None:
    made = header("aes-xts-plain64")

    def change(area: dict[str, t.Any]) -> None:
        area["segments"]["0"].update(encryption="cipher_null-ecb")

    assert hostile.edit_luks2(made, change) == 4096
    assert made.count(b"cipher_null-ecb") == 2
    assert b"aes" not in made
    assert made[448:480] == made[16384 + 448 : 16384 + 480] != bytes(32)


def test_what_a_console_shows_is_one_line() -> None:
    assert attacks.last_lines("\x1b[2Ja\r\n\r\n  b  c\r\nd\r\ne") == "b c / d / e"


def test_the_threat_model_names_tests_that_there_are() -> None:
    text = attack_report.PAGE.read_text()
    root = attack_report.PAGE.parents[1]
    missing = [it for it in re.findall(r"`(tests/[\w./]+)`", text) if not (root / it).exists()]
    assert not missing
    prose = text.partition(attack_report.BEGIN)[0]
    unnamed = {name for name in ALL if f"`{name}`" not in prose}
    assert unnamed == set()
