# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""luks_image_info with scripted commands."""

from __future__ import annotations

import pathlib

import pytest

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "luks"
COLUMNS = "NAME,OFFSET,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
LIST = ["losetup", "--list", "--json", "--output", COLUMNS]
LOOP = "/dev/loop4"
UUID = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(8192))
    return str(path)


@pytest.fixture
def key(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text("the very secret")
    return str(path)


def expect_open(script, disk: str) -> None:
    argv = ["losetup", "--find", "--show", "--offset", "512", "--read-only", disk]
    script.expect(argv, stdout=f"{LOOP}\n")


def expect_close(script) -> None:
    script.expect(["losetup", "--detach", LOOP])
    script.expect(LIST)


@pytest.mark.parametrize("check", [False, True])
def test_a_header_and_a_key(check: bool, disk: str, key: str, script, run_module) -> None:
    expect_open(script, disk)
    dump = (FIXTURES / "luks1-cryptsetup-2.6.1.txt").read_text()
    script.expect(["cryptsetup", "luksDump", LOOP], stdout=dump)
    argv = ["cryptsetup", "open", "--test-passphrase", "--verbose", "--key-file", key, LOOP]
    script.expect(argv, stdout="Key slot 3 unlocked.\nCommand successful.\n")
    expect_close(script)
    result = run_module(
        "luks_image_info", path=disk, offset=512, key_files={"k": key}, _check=check
    )
    assert not result.failed
    assert result["changed"] is False
    assert result["opens"] == {"k": 3}
    assert (result["type"], result["uuid"]) == ("luks1", UUID)
    assert result["slots"]["3"] == {"iterations": 2345, "kdf": "pbkdf2"}
    row = result["findings"][0]
    assert (row["id"], row["severity"]) == ("few-iterations", "note")
    assert row["meaning"].startswith("slot 0 has 1000 iterations")
    assert row["cure"].startswith("give a passphrase 600000")
    assert "very secret" not in str(result.result)


def test_no_header(disk: str, key: str, script, run_module) -> None:
    expect_open(script, disk)
    script.expect(["cryptsetup", "luksDump", LOOP], rc=1)
    expect_close(script)
    result = run_module("luks_image_info", path=disk, offset=512, key_files={"k": key})
    assert (result["type"], result["opens"]) == ("", {"k": None})
    assert [(it["id"], it["severity"]) for it in result["findings"]] == [("no-header", "danger")]


def test_the_loop_device_is_released_after_a_failure(disk: str, script, run_module) -> None:
    expect_open(script, disk)
    script.expect(["cryptsetup", "luksDump", LOOP], stdout="Version: 2\n")
    argv = ["cryptsetup", "luksDump", "--dump-json-metadata", LOOP]
    script.expect(argv, rc=1, stderr="Input/output error")
    expect_close(script)
    result = run_module("luks_image_info", path=disk, offset=512)
    assert result.failed
    assert "Input/output error" in result["msg"]


def test_a_key_that_is_not_there(disk: str, run_module) -> None:
    result = run_module("luks_image_info", path=disk, key_files={"k": "/none/key"})
    assert result.failed
    assert "/none/key does not exist" in result["msg"]
