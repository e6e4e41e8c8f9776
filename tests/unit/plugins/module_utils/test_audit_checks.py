# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure verdicts of an audit."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import (
    _audit_checks,
    _gpt,
    _grub_core,
    _grub_fstest,
    _luks_metadata,
)

LUKS = "11111111-2222-4333-8444-555555555555"
PLAIN = LUKS.replace("-", "")
ROOT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
HEADER = _luks_metadata.Header(
    type="luks1",
    uuid=LUKS,
    cipher="aes-xts-plain64",
    hash="sha256",
    key_bits=512,
    payload_offset=2 << 20,
    digest_iterations=1000,
    slots={0: _luks_metadata.Keyslot(1000, "pbkdf2"), 1: _luks_metadata.Keyslot(1000, "pbkdf2")},
    slot_order=(0, 1),
)
SLOTS = {0: 1000, 1: 1000}
LINE = f"\tlinux\t/boot/vmlinuz-6 root=UUID={ROOT} ro console=ttyS0\n"


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ({"format": "qcow2", "format-specific": {"data": {"corrupt": False}}}, None),
        ({"backing-filename": "/base"}, "backing file /base"),
        ({"snapshots": [{}]}, "1 internal snapshots"),
        ({"format-specific": {"data": {"data-file": "/data"}}}, "another file, /data"),
        ({"format-specific": {"data": {"corrupt": True}}}, "corrupt"),
        ({"dirty-flag": True}, "not closed"),
        ({"encrypted": True}, "encrypted"),
    ],
)
def test_image_format(info: dict[str, t.Any], says: str | None) -> None:
    found = _audit_checks.image_format(info)
    assert [says in problem for problem in found if says] == ([True] if says else [])


def luks2(json: bytes = b"{}", seqid: int = 3) -> bytes:
    def copy(magic: bytes) -> bytes:
        head = magic + b"\0\2" + (8192).to_bytes(8, "big") + seqid.to_bytes(8, "big")
        return head.ljust(4096, b"\0") + json.ljust(4096, b"\0")

    return copy(b"LUKS\xba\xbe") + copy(b"SKUL\xba\xbe") + b"key slots"


def test_the_two_copies_of_a_luks2_header() -> None:
    good = luks2()
    assert _audit_checks.luks2_copies(good) == []
    # Salt and checksum are each copy's own.
    assert _audit_checks.luks2_copies(good[:100] + b"x" + good[101:]) == []
    for other in (luks2(json=b'{"a": 1}'), luks2(seqid=4), bytes(len(good))):
        assert _audit_checks.luks2_copies(good[:8192] + other[8192:])


def table(*kinds: str, start: int = _gpt.MIB) -> _gpt.Table:
    parts = [_gpt.Partition(kind, "", start, _gpt.MIB) for kind in kinds]
    return _gpt.Table(tuple(parts))


def test_layout() -> None:
    good = table(_gpt.ESP_TYPE, _gpt.LUKS_TYPE)
    assert _audit_checks.layout(good, []) == []
    assert "no GPT" in _audit_checks.layout(None, [])[0]
    assert "not one ESP" in _audit_checks.layout(table(_gpt.LUKS_TYPE), [])[0]
    late = table(_gpt.ESP_TYPE, _gpt.LUKS_TYPE, start=9 * _gpt.MIB)
    assert "not at the start" in _audit_checks.layout(late, [])[0]
    assert "at byte 7" in _audit_checks.layout(good, [7, 9])[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"cipher": "cipher_null-ecb"}, "cipher_null-ecb"),
        ({"hash": "sha512"}, "sha512"),
        ({"digest_iterations": 162418}, "162418"),
        ({"slots": {0: HEADER.slots[0]}}, "slots and their iterations"),
        ({"slot_order": (1, 0)}, "slot 1 first"),
        ({"uuid": ROOT}, "UUID is"),
        ({"type": "luks2"}, "it is luks2, not luks1"),
        ({"tokens": 1}, "tokens"),
        ({"requirements": ("online-reencrypt",)}, "online-reencrypt"),
        ({"payload_offset": 0, "metadata_end": 2 << 20}, "begins at byte 0"),
        # Notes, which say nothing against an image.
        ({"payload_offset": 16 << 20}, None),
        ({"flags": ("allow-discards",)}, None),
    ],
)
def test_header(change: dict[str, t.Any], says: str | None) -> None:
    found = _audit_checks.header(
        dataclasses.replace(HEADER, **change),
        slots=SLOTS,
        digest_iterations=1000,
        luks_uuid=LUKS,
        luks_type="luks1",
        hash_="sha256",
    )
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


def test_a_header_may_be_slow_if_that_was_asked_for() -> None:
    slots = {0: _luks_metadata.Keyslot(2_000_000, "pbkdf2")}
    slow = dataclasses.replace(
        HEADER, slots=slots, slot_order=(0,), digest_iterations=20_000, hash="sha1"
    )

    def judge(iterations: int, hash_: str) -> list[str]:
        return _audit_checks.header(
            slow,
            slots={0: iterations},
            digest_iterations=20_000,
            luks_uuid=None,
            luks_type=None,
            hash_=hash_,
        )

    assert judge(2_000_000, "sha1") == []
    assert len(judge(1000, "sha256")) == 2


def test_grub_may_take_what_the_slots_before_take() -> None:
    slots = {0: 1000, 1: 600_000}
    first = _audit_checks.grub_seconds(0, base=2, slots=slots, digest=1000)
    second = _audit_checks.grub_seconds(1, base=2, slots=slots, digest=1000)
    assert 2 < first < 2.1
    assert 8 < second < 8.1


READ = _grub_fstest.Reading("set a=b\n", 0, 0.1, "nothing")
REFUSED = _grub_fstest.Reading(None, None, 0.1, "error: access denied.")


@pytest.mark.parametrize(
    ("reading", "refused", "says"),
    [
        (READ, REFUSED, None),
        (REFUSED, REFUSED, "cannot open it with the boot key: error: access denied."),
        (dataclasses.replace(READ, content=None), REFUSED, "cannot read the file system"),
        (dataclasses.replace(READ, slot=1), REFUSED, "opens slot 1, not 0"),
        (dataclasses.replace(READ, seconds=2.5), REFUSED, "iterations are too many"),
        (READ, READ, "a random key opens it"),
    ],
)
def test_grub_opens(
    reading: _grub_fstest.Reading, refused: _grub_fstest.Reading, says: str | None
) -> None:
    found = _audit_checks.grub_opens(
        {"boot": reading}, refused, slots={"boot": 0}, seconds={"boot": 2.0}
    )
    assert [says in problem for problem in found if says] == ([True] if says else [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LINE, None),
        (f"search --fs-uuid {ROOT}\ncryptomount -u {PLAIN}\n{LINE}", None),
        ("set timeout=1\n", "boots no kernel"),
        (LINE.replace("root=UUID=", "root=LABEL="), "not root=UUID="),
        (LINE.replace(f"root=UUID={ROOT}", "root=/dev/mapper/sealedroot-x"), "of the builder"),
        (LINE + "search --hint=/dev/loop3\n", "/dev/loop3 of the builder"),
        (LINE.rstrip() + " resume=/dev/sda2\n", "the device /dev/sda2"),
        (LINE.rstrip() + " rd.luks.uuid=luks-1\n", "rd.luks.uuid=luks-1"),
        (LINE.rstrip() + f" rd.luks.uuid={LUKS}\n", f"not rd.luks.uuid=luks-{LUKS}"),
        (LINE.rstrip() + f" rd.luks.uuid=luks-{LUKS}\n", None),
        (LINE + f"search --fs-uuid {ROOT[:-1]}0\n", "not in the image"),
        (LINE + "# made on builder-7\n", "builder-7"),
    ],
)
def test_grub_cfg(text: str, says: str | None) -> None:
    found = _audit_checks.grub_cfg(text, root_uuid=ROOT, luks_uuid=LUKS, words=["builder-7", ""])
    assert bool(found) is bool(says)
    assert says is None or any(says in problem for problem in found)


def test_initrds() -> None:
    text = "initrd /boot/a /boot/b\n  initrdefi /boot/a\n# initrd /boot/c\n"
    assert _audit_checks.initrds(text) == ["/boot/a", "/boot/b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"cryptomount -u {PLAIN}\ncryptomount -u {PLAIN}\n", None),
        ("normal\n", "never asks"),
        (f"cryptomount -u {LUKS}\n", "without dashes"),
        (f"cryptomount -p secret -u {PLAIN}\n", "without a key"),
        (f"cryptomount -k /key -u {PLAIN}\n", "without a key"),
        ("cryptomount -a\n", "must be"),
    ],
)
def test_early_config(text: str, says: str | None) -> None:
    found = _audit_checks.early_config("BOOTX64.EFI", text, luks_uuid=LUKS)
    assert [says in problem for problem in found if says] == ([True] if says else [])


def esp(monkeypatch: pytest.MonkeyPatch, core: _grub_core.Core | None, **files: bytes) -> list[str]:
    monkeypatch.setattr(_grub_core, "parse", lambda _data: core)
    return _audit_checks.esp(
        {name.replace("_", "."): data for name, data in files.items()},
        wanted=["BOOTX64.EFI"],
        luks_uuid=LUKS,
        modules=["luks"],
    )


def test_esp(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = frozenset({*_audit_checks.CORE_MODULES, "luks"})
    core = _grub_core.Core(f"cryptomount -u {PLAIN}\n", "", modules)
    assert esp(monkeypatch, core, bootx64_efi=b"") == []
    assert "has no BOOTX64.EFI" in esp(monkeypatch, core)[0]
    assert "has also EXTRA.TXT" in esp(monkeypatch, core, BOOTX64_EFI=b"", extra_txt=b"")[0]
    lacking = dataclasses.replace(core, modules=modules - {"luks"})
    assert esp(monkeypatch, lacking, BOOTX64_EFI=b"") == ["BOOTX64.EFI lacks the GRUB modules luks"]
    assert "nothing on the ESP" in esp(monkeypatch, None, BOOTX64_EFI=b"")[0]
    naming = dataclasses.replace(core, config=core.config + "set x=/dev/loop0p2\n")
    assert esp(monkeypatch, naming, BOOTX64_EFI=b"") == ["it names /dev/loop0p2 of the builder"]


def test_a_stub_beside_a_signed_grub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grub_core, "parse", lambda _data: None)
    files = {"EFI/BOOT/grub.cfg": f"cryptomount -u {PLAIN}\n".encode(), "EFI/BOOT/BOOTX64.EFI": b""}
    want = list(files)
    assert _audit_checks.esp(files, wanted=want, luks_uuid=LUKS, modules=[]) == []
    # What is in a signed GRUB is not for this disk.
    monkeypatch.setattr(
        _grub_core, "parse", lambda _data: _grub_core.Core("normal", "", frozenset())
    )
    assert _audit_checks.esp(files, wanted=want, luks_uuid=LUKS, modules=[], signed=True) == []
    files["EFI/BOOT/grub.cfg"] = b"cryptomount -a\n"
    assert _audit_checks.esp(files, wanted=want, luks_uuid=LUKS, modules=[])
