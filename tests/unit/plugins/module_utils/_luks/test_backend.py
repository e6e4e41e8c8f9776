# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which backend is taken, and what it refuses before anything is formatted for it."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    backend as luks_backend,
    dm_crypt as luks_dm_crypt,
    metadata,
    userspace as luks_userspace,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs


def header(type_: str = "luks1", slots: t.Sequence[int] = (0,), **more: t.Any) -> metadata.Header:
    return metadata.Header(
        type=type_,
        uuid="11111111-2222-4333-8444-555555555555",
        cipher="aes-xts-plain64",
        hash="sha256",
        key_bits=512,
        payload_offset=1 << 24,
        digest_iterations=1000,
        slots={slot: metadata.Keyslot(1000, "pbkdf2") for slot in slots},
        slot_order=tuple(slots),
        **more,
    )


@pytest.fixture
def mapping(tmp_path: pathlib.Path) -> luks_backend.Mapping:
    key = tmp_path / "key"
    key.write_text("a key")
    return luks_backend.Mapping(
        path="/disk",
        offset=512,
        size=1024,
        name="cr_root",
        header=header(),
        key_file=str(key),
        work_dir=str(tmp_path),
        read_only=False,
    )


def usable(monkeypatch: pytest.MonkeyPatch, *, dm_crypt: str | None, userspace: str | None) -> None:
    monkeypatch.setattr(luks_dm_crypt, "unusable", lambda _runner: dm_crypt)
    monkeypatch.setattr(luks_userspace, "unusable", lambda _runner: userspace)


@pytest.mark.parametrize("wanted", ["auto", "dm_crypt"])
def test_dm_crypt_where_it_works(wanted: str, runner, monkeypatch: pytest.MonkeyPatch) -> None:
    usable(monkeypatch, dm_crypt=None, userspace="never asked")
    backend, reason = luks_backend.choose(runner, wanted)
    assert (backend.name, reason) == ("dm_crypt", "dm_crypt works here")


def test_userspace_where_dm_crypt_does_not_work(runner, monkeypatch: pytest.MonkeyPatch) -> None:
    usable(monkeypatch, dm_crypt="no device-mapper", userspace=None)
    backend, reason = luks_backend.choose(runner, "auto")
    assert backend.name == "userspace"
    assert reason == "dm_crypt does not work here: no device-mapper; userspace works here"


def test_what_is_asked_for_and_does_not_work(runner, monkeypatch: pytest.MonkeyPatch) -> None:
    usable(monkeypatch, dm_crypt="no device-mapper", userspace="no FUSE")
    with pytest.raises(SealedRootError, match=r"no device-mapper.*Load dm_crypt") as error:
        luks_backend.choose(runner, "dm_crypt")
    assert "no FUSE" not in str(error.value)
    with pytest.raises(SealedRootError, match=r"no device-mapper.*no FUSE.*Load dm_crypt"):
        luks_backend.choose(runner, "auto")


def test_names_are_the_choices_of_the_input() -> None:
    names = [luks_backend.DmCrypt.name, luks_backend.Userspace.name]
    assert _inputs.options()["image_backend"]["choices"] == ["auto", *names]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"header": header("luks2", slots=(0, 8), tokens=1)},
            r"slot 8 is beyond slot 7; there are tokens \(1\), which can hold a key",
        ),
        ({"work_dir": ""}, "needs work_dir"),
        ({"work_dir": "/nowhere/at/all"}, "work_dir /nowhere/at/all is not a directory"),
        ({"key_file": "/bin/sh"}, "only keys that are text, and /bin/sh"),
    ],
)
def test_userspace_refuses(
    change: dict[str, t.Any], words: str, mapping: luks_backend.Mapping
) -> None:
    with pytest.raises(SealedRootError, match=words):
        luks_backend.Userspace().check(dataclasses.replace(mapping, **change))


def test_what_can_be_opened(mapping: luks_backend.Mapping) -> None:
    luks_backend.Userspace().check(mapping)
    luks_backend.Userspace().check(
        dataclasses.replace(mapping, header=header("luks2", slots=(0, 7)))
    )
    odd = header("luks2", slots=(31,), sector_size=4096)
    luks_backend.DmCrypt().check(dataclasses.replace(mapping, header=odd, work_dir=""))


@pytest.mark.parametrize(
    ("key", "taken"),
    [(b"abc", True), (b"a\n", True), ("ü".encode(), True), (b"\xff", False), (b"a\0", False)],
)
def test_userspace_keys(key: bytes, taken: bool, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes(key)
    assert luks_userspace.takes_key(str(tmp_path / "key")) is taken
