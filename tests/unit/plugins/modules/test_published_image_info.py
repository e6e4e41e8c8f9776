# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json

import pytest


@pytest.fixture
def image(tmp_path):
    (tmp_path / "disk.qcow2").write_bytes(b"disk")
    entry = {"size": 4, "sha256": hashlib.sha256(b"disk").hexdigest()}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"disk.qcow2": entry}}))
    return tmp_path


def look(run_module, path):
    outcome = run_module("published_image_info", path=str(path))
    assert not outcome.failed
    return outcome


def test_an_image_that_is_as_its_manifest_says(run_module, image):
    seen = look(run_module, image)
    assert (seen["exists"], seen["intact"], seen["files"]) == (True, True, {"disk.qcow2": True})
    assert seen["manifest"]["files"]["disk.qcow2"]["size"] == 4


@pytest.mark.parametrize("content", [b"disc", b"disk and more"], ids=["other", "longer"])
def test_a_file_that_changed(run_module, image, content):
    (image / "disk.qcow2").write_bytes(content)
    seen = look(run_module, image)
    assert (seen["exists"], seen["intact"], seen["files"]) == (True, False, {"disk.qcow2": False})


def test_a_link_is_no_file(run_module, image):
    (image / "disk.qcow2").rename(image / "other")
    (image / "disk.qcow2").symlink_to("other")
    assert not look(run_module, image)["intact"]


@pytest.mark.parametrize("text", ["", "[]", '{"files": {}}', '{"files": {"a": 1}}'])
def test_a_manifest_that_says_nothing(run_module, image, text):
    (image / "manifest.json").write_text(text)
    seen = look(run_module, image)
    assert (seen["exists"], seen["intact"]) == (True, False)


def test_nothing_there(run_module, tmp_path):
    seen = look(run_module, tmp_path / "none")
    assert (seen["exists"], seen["manifest"], seen["intact"]) == (False, None, False)
