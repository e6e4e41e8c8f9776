# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A launch secret or a TPM opens an image, and another one does not; ``./run unlock`` plays the rest."""

from __future__ import annotations

import typing as t

import launched
import pytest
import tpm_machines
from attack_images import Image
from builds import fresh_place

Module = t.Callable[..., dict[str, t.Any]]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    with fresh_place(tmp_path_factory) as place:
        yield launched.build(place)


def test_a_login_without_a_prompt(image: Image, real_module: Module) -> None:
    found = real_module(
        "image_boot_test",
        path=f"{image.directory}/disk.qcow2",
        launch=launched.files(image),
        cases=[
            {"name": "launch", "launch": "published"},
            {"name": "other", "launch": "other_key", "expect": "halted"},
        ],
    )
    assert [(it["verdict"], it["prompts"]) for it in found["cases"]] == [("ok", 0), ("ok", 0)]


def test_a_login_by_the_tpm(tmp_path_factory: pytest.TempPathFactory, real_module: Module) -> None:
    with fresh_place(tmp_path_factory) as place:
        image = tpm_machines.build(place)
        # The first case is sealed for these values.
        assert [*image.manifest["audit"]["facts"]["tpm2"]["pcrs"]] == ["4", "7", "8", "9"]
        key = {"key_file": f"{image.directory}/boot.key"}
        found = real_module(
            "image_boot_test",
            path=f"{image.directory}/disk.qcow2",
            cases=[
                {"name": "tpm", "tpm": "sealed", **key},
                {"name": "other", "tpm": "other_core", "expect": "asked", **key},
            ],
        )
    assert [(it["verdict"], it["prompts"]) for it in found["cases"]] == [("ok", 0), ("ok", 1)]
