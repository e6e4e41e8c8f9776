# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quickest attacks of a hostile host; ``./run attacks`` plays all of them, also where nothing defends."""

from __future__ import annotations

import pathlib
import typing as t

import attack_images
import attacks
import pytest
from builds import fresh_place

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "attacks"
QUICKEST = (
    *("grub_editor", "grub_shell", "grub_wrong_key", "grub_search"),
    *("garbled_grub_cfg", "garbled_word"),
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[attack_images.Image]:
    with fresh_place(tmp_path_factory) as place:
        yield attack_images.build(attack_images.KINDS[0], place, defended=True)


@pytest.mark.parametrize("name", QUICKEST)
def test_the_host_is_stopped(name: str, image: attack_images.Image) -> None:
    play = attacks.load(FOLDER, [name])[name].play
    assert play
    stage = attacks.Stage(image)
    try:
        outcome = play(stage)
        assert not outcome.won, f"{outcome.evidence}\n{stage.console()[-3000:]}"
    finally:
        stage.end()
