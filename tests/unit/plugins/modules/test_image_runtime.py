# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _python_runtime

HEADER = b"LUKS header".ljust(8192, b"\0")
KEY = "Ym9vdGJvb3Rib290Ym9vdGJvb3Rib290Ym9vdGJvb3Q="


@pytest.fixture
def runtime(tmp_path, monkeypatch, run_module):
    """The module on a private directory; the interpreter is a small made one."""
    stdlib = tmp_path / "lib" / "python3.11"
    stdlib.mkdir(parents=True)
    (stdlib / "os.py").touch()
    for name in ("python", "ld.so"):
        (tmp_path / name).write_text(name)
    made = _python_runtime.Interpreter(
        str(tmp_path / "python"), str(stdlib), (), str(tmp_path / "ld.so")
    )
    monkeypatch.setattr(_python_runtime, "find", lambda _runner: made)
    boot_key = tmp_path / "boot.key"
    boot_key.write_text(KEY)
    boot_key.chmod(0o600)
    luks_header = tmp_path / "luks.header"
    luks_header.write_bytes(HEADER)
    luks_header.chmod(0o400)
    (tmp_path / "run").mkdir()

    class Runtime:
        directory = tmp_path / "run" / "sealedroot"
        key = boot_key
        header = luks_header

        def __call__(self, **args):
            return run_module(
                "image_runtime",
                path=str(tmp_path / "run"),
                key_file=str(boot_key),
                header_file=str(luks_header),
                _diff=True,
                **args,
            )

    return Runtime()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_four_calls(runtime):
    predicted = runtime(_check=True)
    assert not runtime.directory.exists()
    done = runtime()
    assert predicted.result == done.result
    assert done["changed"]
    assert done["python"] == "/run/sealedroot/python3"
    assert done["diff"]["before"] == {"python": False, "secrets": False}
    assert not runtime()["changed"]
    assert not runtime(_check=True)["changed"]


def test_modes(runtime):
    old = os.umask(0o077)
    try:
        runtime()
    finally:
        os.umask(old)
    assert mode(runtime.directory / "boot.key") == 0o400
    assert mode(runtime.directory / "luks.header") == 0o400
    assert mode(runtime.directory / "tmp") == 0o700
    assert mode(runtime.directory / "python3") == 0o755
    # A program of the image may run as another user.
    for folder in (".", "python", "python/bin", "python/libs", "python/lib/python3.11"):
        assert mode(runtime.directory / folder) == 0o755, folder


def test_the_key_is_as_it_was_and_not_shown(runtime):
    done = runtime()
    assert (runtime.directory / "boot.key").read_text() == KEY
    assert KEY not in json.dumps(done.result)


def test_another_key_replaces_the_first(runtime):
    runtime()
    runtime.key.write_text("another key")
    done = runtime()
    assert done["changed"]
    assert done["diff"]["before"] == {"python": True, "secrets": False}
    assert (runtime.directory / "boot.key").read_text() == "another key"
    assert mode(runtime.directory / "boot.key") == 0o400


def test_another_header_replaces_the_first(runtime):
    runtime()
    assert (runtime.directory / "luks.header").read_bytes() == HEADER
    runtime.header.chmod(0o600)
    runtime.header.write_bytes(HEADER[::-1])
    assert runtime(_check=True)["changed"]
    assert (runtime.directory / "luks.header").read_bytes() == HEADER
    assert runtime()["changed"]
    assert (runtime.directory / "luks.header").read_bytes() == HEADER[::-1]
    assert mode(runtime.directory / "luks.header") == 0o400
    assert not runtime()["changed"]


@pytest.mark.parametrize("lost", ["python3", "python"])
def test_a_run_that_was_killed_half_way_is_finished(runtime, lost):
    runtime()
    path = runtime.directory / lost
    path.rename(path.parent / "lost")
    done = runtime()
    assert not done.failed
    assert done["changed"]
    assert (runtime.directory / "python3").exists()
    assert (runtime.directory / "python" / "bin" / "python3").exists()
    assert not runtime()["changed"]


def test_a_link_of_the_image_is_not_followed(runtime, tmp_path):
    """/run belongs to root of the image, who could have put a link there."""
    runtime.directory.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (runtime.directory / "boot.key").symlink_to(victim)
    (runtime.directory / "luks.header").symlink_to(victim)
    (runtime.directory / "python3").symlink_to(victim)
    assert runtime()["changed"]
    assert victim.read_text() == "untouched"
    assert not (runtime.directory / "boot.key").is_symlink()
    assert not (runtime.directory / "luks.header").is_symlink()
    assert not (runtime.directory / "python3").is_symlink()


@pytest.mark.parametrize(("name", "what"), [("key", "key file"), ("header", "header file")])
def test_what_others_can_read_is_refused(runtime, name, what):
    path = getattr(runtime, name)
    path.chmod(0o644)
    outcome = runtime()
    assert outcome.failed
    assert f"the {what} {path} can be read by others: set its mode to 0600" in outcome["msg"]
    assert not runtime.directory.exists()
