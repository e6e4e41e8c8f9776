# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure verdicts of an audit."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import checks
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    core_image,
    embedded,
    fstest,
    install,
    own_volume,
    tpm_program,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import metadata

LUKS = "11111111-2222-4333-8444-555555555555"
PLAIN = LUKS.replace("-", "")
ROOT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
HEADER = metadata.Header(
    type="luks1",
    uuid=LUKS,
    cipher="aes-xts-plain64",
    hash="sha256",
    key_bits=512,
    payload_offset=2 << 20,
    digest_iterations=1000,
    slots={0: metadata.Keyslot(1000, "pbkdf2"), 1: metadata.Keyslot(1000, "pbkdf2")},
    slot_order=(0, 1),
)
SLOTS = {0: 1000, 1: 1000}
DEVICE = f"/dev/mapper/luks-{LUKS}"
WORDS = guest.words("dracut", luks_uuid=LUKS)
LINE = f"\tlinux\t/boot/vmlinuz-6 root={DEVICE} ro console=ttyS0 {' '.join(WORDS)}\n"


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
    found = checks.image_format(info)
    assert [says in problem for problem in found if says] == ([True] if says else [])


def luks2(json: bytes = b"{}", seqid: int = 3) -> bytes:
    def copy(magic: bytes) -> bytes:
        head = magic + b"\0\2" + (8192).to_bytes(8, "big") + seqid.to_bytes(8, "big")
        return head.ljust(4096, b"\0") + json.ljust(4096, b"\0")

    return copy(b"LUKS\xba\xbe") + copy(b"SKUL\xba\xbe") + b"key slots"


def test_the_two_copies_of_a_luks2_header() -> None:
    good = luks2()
    assert checks.luks2_copies(good) == []
    # Salt and checksum are each copy's own.
    assert checks.luks2_copies(good[:100] + b"x" + good[101:]) == []
    for other in (luks2(json=b'{"a": 1}'), luks2(seqid=4), bytes(len(good))):
        assert checks.luks2_copies(good[:8192] + other[8192:])


def table(*kinds: str, start: int = partitions.MIB) -> partitions.Table:
    parts = [partitions.Partition(kind, "", start, partitions.MIB) for kind in kinds]
    return partitions.Table(tuple(parts))


@pytest.mark.parametrize(
    ("slots", "given", "says"),
    [
        ([0, 1], ["boot", "recovery"], ""),
        ([0], ["boot", "recovery"], ""),
        ([1, 0], ["boot"], "no key was given for slot 1, which was not tried"),
        ([5, 0, 1], ["boot"], "no key was given for slot 1, 5, which was not tried"),
    ],
)
def test_slots_that_no_key_was_given_for(slots: list[int], given: list[str], says: str) -> None:
    assert checks.untried(slots, {"boot": 0, "recovery": 1}, given) == says


def test_layout() -> None:
    good = table(partitions.ESP_TYPE, partitions.LUKS_TYPE)
    assert checks.layout(good, []) == []
    assert "no GPT" in checks.layout(None, [])[0]
    assert "not one ESP" in checks.layout(table(partitions.LUKS_TYPE), [])[0]
    late = table(partitions.ESP_TYPE, partitions.LUKS_TYPE, start=9 * partitions.MIB)
    assert "not at the start" in checks.layout(late, [])[0]
    assert "at byte 7" in checks.layout(good, [7, 9])[0]


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
    found = checks.header(
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
    slots = {0: metadata.Keyslot(2_000_000, "pbkdf2")}
    slow = dataclasses.replace(
        HEADER, slots=slots, slot_order=(0,), digest_iterations=20_000, hash="sha1"
    )

    def judge(iterations: int, hash_: str) -> list[str]:
        return checks.header(
            slow,
            slots={0: iterations},
            digest_iterations=20_000,
            luks_uuid=None,
            luks_type=None,
            hash_=hash_,
        )

    assert judge(2_000_000, "sha1") == []
    assert len(judge(1000, "sha256")) == 2


READ = fstest.Reading("set a=b\n", 0, "nothing")
REFUSED = fstest.Reading(None, None, "error: access denied.")


@pytest.mark.parametrize(
    ("reading", "refused", "says"),
    [
        (READ, REFUSED, None),
        (REFUSED, REFUSED, "cannot open it with the boot key: error: access denied."),
        (dataclasses.replace(READ, content=None), REFUSED, "cannot read the file system"),
        (dataclasses.replace(READ, slot=1), REFUSED, "opens slot 1, not 0"),
        (READ, READ, "a random key opens it"),
    ],
)
def test_grub_opens(reading: fstest.Reading, refused: fstest.Reading, says: str | None) -> None:
    found = checks.grub_opens({"boot": reading}, refused, slots={"boot": 0})
    assert [says in problem for problem in found if says] == ([True] if says else [])


def more(words: str) -> str:
    return f"{LINE.rstrip()} {words}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LINE, None),
        (f"set root=cryptouuid/{PLAIN}\n# {ROOT}\n{LINE}", None),
        (f"{LINE}\tlinux\t/boot/memtest86+x64.efi\n", None),
        (more("quiet"), None),
        ("set timeout=1\n", "boots no kernel"),
        ("\tlinux\t/boot/memtest86+x64.efi\n", "boots no kernel"),
        # A disk of the host can have that UUID and that label.
        (LINE.replace(DEVICE, f"UUID={ROOT}"), f"gets root=UUID={ROOT}, not root={DEVICE}"),
        (LINE.replace(DEVICE, "LABEL=root"), f"not root={DEVICE}"),
        (more("root=/dev/sda1"), f"not root={DEVICE}"),
        (more(f"root={DEVICE}"), None),
        (LINE.replace(DEVICE, "/dev/mapper/sealedroot-x"), "of the builder"),
        (LINE + "# /dev/loop3\n", "/dev/loop3 of the builder"),
        (LINE + "# /srv/web-1/disk.raw\n", "it names /disk.raw of the builder"),
        (more("resume=/dev/sda2"), "the device /dev/sda2"),
        # One of its own disk is not enough where there is another one.
        (LINE.replace("rd.luks", "rd.luks.uuid=luks-1 rd.luks"), "gets rd.luks.uuid=luks-1, not"),
        (more(f"rd.luks.uuid={LUKS}"), f"not rd.luks.uuid=luks-{LUKS}"),
        (more(f"rd.luks.uuid=luks-{LUKS}"), None),
        (LINE + f"# {ROOT[:-1]}0\n", "not in the image"),
        (LINE + "# made on builder-7\n", "builder-7"),
        (f"search --fs-uuid --set=root {ROOT}\n{LINE}", "can find a disk of the host"),
        (f"set root='hd0,gpt2'\n{LINE}", "'set root='hd0,gpt2'' can find a disk of the host"),
        (f"root=hd0,gpt2\n{LINE}", "'root=hd0,gpt2' can find a disk of the host"),
        (f"by=--set\nsearch $by=root --file /x\n{LINE}", "can find a disk of the host"),
        (LINE.replace("linux", "'linux'", 1).replace(DEVICE, "/dev/sdb"), "not root="),
        (more("${none}init=/bin/sh"), "gets init=/bin/sh, which opens the console"),
        (more("$vt_handoff ${extra_cmdline}"), None),
        (f"{LINE}\tlinux\t/boot/memtest/vmlinuz root=/dev/sdb\n", "/boot/memtest/vmlinuz gets"),
        (more("systemd.gpt_auto=1"), "gets systemd.gpt_auto=1, not systemd.gpt_auto=0"),
        (more("systemd.gpt_auto"), "gets systemd.gpt_auto, not systemd.gpt_auto=0"),
        # As systemd reads it.
        (more("systemd.import-credentials=yes"), "not systemd.import_credentials=no"),
        (more("rd.break=pre-mount"), "gets rd.break=pre-mount, which opens the console"),
        (more("systemd.debug_shell"), "systemd.debug_shell, which opens the console"),
        (more("sysrq-always-enabled"), "sysrq-always-enabled, which opens the console"),
        (more("systemd.crash-shell=1"), "systemd.crash-shell=1, which opens the console"),
        (more("ekgdboc=kbd"), "ekgdboc=kbd, which opens the console"),
        (more("rd.luks.crypttab=0"), "rd.luks.crypttab=0, which takes what the host has"),
        (more("rd.luks.uuid=luks-2"), "rd.luks.uuid=luks-2, which takes what the host has"),
        (more("nfsroot=10.0.2.2:/x"), "nfsroot=10.0.2.2:/x, which takes what the host has"),
        (more("systemd.machine_id=1f"), "systemd.machine_id=1f, which every clone would share"),
        (more("systemd.machine-id=1f"), "systemd.machine-id=1f, which every clone would share"),
        # An owner may say so.
        (more("systemd.hostname=web-1 ip=192.0.2.7"), None),
        (more("rd.root=LABEL=x"), "rd.root=LABEL=x, which takes what the host has"),
        (more("rd.systemd.gpt-auto=1"), "rd.systemd.gpt-auto=1, not systemd.gpt_auto=0"),
        (more("rd.retry=60 rd.driver.pre=x rootfstype=ext4 console=tty0"), None),
    ],
)
def test_grub_cfg(text: str, says: str | None) -> None:
    found = grub_cfg(text)
    assert bool(found) is bool(says)
    assert says is None or any(says in problem for problem in found)


def grub_cfg(text: str, words: t.Sequence[str] = WORDS) -> list[str]:
    return checks.grub_cfg(
        text,
        root_device=DEVICE,
        root_uuid=ROOT,
        luks_uuid=LUKS,
        words=words,
        builder_words=["builder-7", ""],
    )


@pytest.mark.parametrize("word", WORDS)
def test_a_kernel_that_is_not_told_a_word(word: str) -> None:
    (problem,) = grub_cfg(LINE.replace(f" {word}", ""))
    assert problem == f"/boot/vmlinuz-6 gets no {word.partition('=')[0]}, not {word}"


def test_every_kernel_is_judged() -> None:
    second = LINE.replace("vmlinuz-6", "vmlinuz-7").replace("panic=5", "panic=0")
    assert grub_cfg(LINE + second) == ["/boot/vmlinuz-7 gets panic=0, not panic=5"]


def test_a_console_that_is_to_be_open_may_be() -> None:
    words = guest.words("dracut", luks_uuid=LUKS, debug_console=True)
    line = f"linux /boot/vmlinuz root={DEVICE} {' '.join(words)} rd.break systemd.debug_shell"
    assert grub_cfg(line, words) == []
    assert grub_cfg(line.replace("noresume", ""), words)


@pytest.mark.parametrize(
    ("text", "kernels"),
    [
        ("linux /a ro quiet\n\tlinuxefi\t/b\n# linux /c\n", [("/a", "ro quiet"), ("/b", "")]),
        ("linux16 /boot/memtest86+.bin\nlinux\n", []),
        # In one line, and with quotes, as GRUB reads it.
        ("menuentry x { linux /a 'rd.break' }\n", [("/a", "rd.break")]),
        ('if true; then linux "/a" a"b"; fi\n', [("/a", "ab")]),
    ],
)
def test_kernel_lines(text: str, kernels: list[tuple[str, str]]) -> None:
    assert checks.kernel_lines(text) == kernels


def test_initrds() -> None:
    text = "initrd /boot/a /boot/b\n  initrdefi /boot/a\n# initrd /boot/c\n"
    assert checks.initrds(text) == ["/boot/a", "/boot/b"]


SCRIPT = cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub")


def asked(how: str) -> str:
    return SCRIPT.replace(f"cryptomount -u {PLAIN}", how)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SCRIPT, None),
        (cfg.stub(luks_uuid=LUKS, directory="/boot/grub"), None),
        (asked("true"), "never asks"),
        (asked(f"cryptomount -u {LUKS}"), "without dashes"),
        (asked(f"cryptomount -p secret -u {PLAIN}"), "without a key"),
        (asked(f"cryptomount -k /key -u {PLAIN}"), "without a key"),
        (asked("cryptomount -a"), "must be"),
        (f"cryptomount -a\n{SCRIPT}", "must be"),
        # Only now the shell is closed, with the volume open.
        (f"cryptomount -u {PLAIN}\n{SCRIPT}", 'asks before it says set superusers="" and export'),
        (SCRIPT.replace("export superusers\n", ""), "asks before it says export superusers:"),
        (SCRIPT.replace("\nreboot\n", "\n"), "does not end with reboot or halt"),
        (f"{SCRIPT}normal\n", "does not end with reboot or halt"),
        *(
            (
                SCRIPT.replace("for try in", f"{more}\nfor try in"),
                "does more than to open this disk",
            )
            for more in (
                "unset superusers",
                "configfile (hd0,gpt1)/x.cfg",
                "exit",
                "chainloader /x.efi",
            )
        ),
        (SCRIPT.replace("/grub.cfg", "/other.cfg"), "does more than to open this disk"),
    ],
)
def test_early_config(text: str, says: str | None) -> None:
    found = checks.early_config("BOOTX64.EFI", text, luks_uuid=LUKS)
    assert bool(found) is bool(says)
    assert says is None or any(says in problem for problem in found)


def test_an_early_config_with_an_open_console() -> None:
    text = cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub", debug_console=True)
    assert len(checks.early_config("x", text, luks_uuid=LUKS)) == 2
    assert checks.early_config("x", text, luks_uuid=LUKS, debug_console=True) == []
    # A closed one is no fault where an open one was asked for.
    assert checks.early_config("x", SCRIPT, luks_uuid=LUKS, debug_console=True) == []
    other = text.replace(PLAIN, ROOT.replace("-", ""))
    assert checks.early_config("x", other, luks_uuid=LUKS, debug_console=True)


def core(script: str = SCRIPT, **change: t.Any) -> core_image.Core:
    modules = frozenset({*checks.CORE_MODULES, "luks"})
    have = core_image.Core(embedded.CONFIG, "", modules, install.memdisk(script))
    return dataclasses.replace(have, **change)


def esp(
    monkeypatch: pytest.MonkeyPatch, core: core_image.Core | None, *names: str, **more: t.Any
) -> list[str]:
    monkeypatch.setattr(core_image, "parse", lambda _data: core)
    return checks.esp(
        dict.fromkeys(names, b""),
        wanted=["BOOTX64.EFI"],
        luks_uuid=LUKS,
        modules=["luks"],
        **more,
    )


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("has_it", [False, True])
def test_a_newer_grub_has_to_ask_for_another_initramfs(
    monkeypatch: pytest.MonkeyPatch, asks: bool, has_it: bool
) -> None:
    script = cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub", ask=asks)
    more = {cfg.ASKS} if has_it else set()
    modules = frozenset({*checks.CORE_MODULES, "luks", *more})
    found = esp(monkeypatch, core(script, modules=modules), "BOOTX64.EFI")
    assert bool(found) == (asks != has_it)


def test_esp(monkeypatch: pytest.MonkeyPatch) -> None:
    assert esp(monkeypatch, core(), "bootx64.efi") == []
    assert "has no BOOTX64.EFI" in esp(monkeypatch, core())[0]
    assert "has also EXTRA.TXT" in esp(monkeypatch, core(), "BOOTX64.EFI", "extra.txt")[0]
    assert "nothing on the ESP" in esp(monkeypatch, None, "BOOTX64.EFI")[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"modules": frozenset(checks.CORE_MODULES)}, "lacks the GRUB modules luks"),
        ({"script": f"set x=/dev/loop0p2\n{SCRIPT}"}, "it names /dev/loop0p2 of the builder"),
        ({"script": SCRIPT.replace("\nreboot\n", "\n")}, "BOOTX64.EFI does not end with reboot"),
        # What GRUB runs first decides, whatever there is in the memdisk.
        (
            {"config": embedded.text(debug_console=True)},
            "begins with 'normal (memdisk)/grub.cfg\nhalt', not with its memdisk",
        ),
        ({"config": "cryptomount -a\n"}, "begins with 'cryptomount -a', not with its memdisk"),
        ({"memdisk": b""}, "BOOTX64.EFI has no cryptomount"),
        ({"memdisk": b"no tar"}, "BOOTX64.EFI has no cryptomount"),
        (
            {"memdisk": install.memdisk("halt\n")[:1024] + install.memdisk(SCRIPT)},
            "BOOTX64.EFI has parts that no build gives it",
        ),
        ({"is_odd": True}, "BOOTX64.EFI has parts that no build gives it"),
    ],
)
def test_a_core_image_of_another_make(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, t.Any], says: str
) -> None:
    found = esp(monkeypatch, core(**change), "BOOTX64.EFI")
    assert any(says in problem for problem in found)


SEALED = tpm_program.config(luks_uuid=LUKS)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (SEALED, ""),
        (
            embedded.CONFIG,
            "normal (memdisk)/grub.cfg\nhalt', not with what asks the TPM",
        ),
        (SEALED.replace("0x1a5", "0x1a6"), "not with what asks the TPM for the key"),
        (f"cryptomount -a\n{SEALED}", "begins with 'cryptomount -a"),
    ],
)
def test_a_core_image_that_asks_a_tpm(
    monkeypatch: pytest.MonkeyPatch, config: str, says: str
) -> None:
    script = cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub", own=True)
    memdisk = install.memdisk(script, own_volume.checksum(b"x"))
    found = esp(monkeypatch, core(config=config, memdisk=memdisk), "BOOTX64.EFI", config=SEALED)
    assert [says in problem for problem in found] == ([True] if says else [])
    if not says:
        plain = esp(monkeypatch, core(config=config), "BOOTX64.EFI", config=SEALED)
        assert "or lacks one" in plain[0]
        assert "does more than" in plain[1]
        assert "not with its memdisk" in esp(monkeypatch, core(config=config), "BOOTX64.EFI")[0]


def test_a_core_image_that_asks_a_tpm_reads_no_file_of_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub", own=True)
    memdisk = install.memdisk(script, own_volume.checksum(b"x"))
    have = core(config=SEALED, memdisk=memdisk)
    more = dataclasses.replace(have, modules=have.modules | {"fat"})
    assert esp(monkeypatch, have, "BOOTX64.EFI", config=SEALED) == []
    (found,) = esp(monkeypatch, more, "BOOTX64.EFI", config=SEALED)
    assert "has the GRUB modules fat, so it reads files that the host can write" in found


def test_a_core_image_with_an_open_console(monkeypatch: pytest.MonkeyPatch) -> None:
    text = cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub", debug_console=True)
    assert esp(monkeypatch, core(text), "BOOTX64.EFI")
    assert esp(monkeypatch, core(text), "BOOTX64.EFI", debug_console=True) == []


def test_a_stub_beside_a_signed_grub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_image, "parse", lambda _data: None)
    stub = cfg.stub(luks_uuid=LUKS, directory="/boot/grub").encode()
    files = {"EFI/BOOT/grub.cfg": stub, "EFI/BOOT/BOOTX64.EFI": b""}
    want = list(files)
    assert checks.esp(files, wanted=want, luks_uuid=LUKS, modules=[]) == []
    # What is in a signed GRUB is not for this disk.
    monkeypatch.setattr(
        core_image, "parse", lambda _data: core_image.Core("normal", "", frozenset())
    )
    assert checks.esp(files, wanted=want, luks_uuid=LUKS, modules=[], signed=True) == []
    files["EFI/BOOT/grub.cfg"] = stub.replace(b"export superusers\n", b"")
    (problem,) = checks.esp(files, wanted=want, luks_uuid=LUKS, modules=[], signed=True)
    assert problem.startswith("EFI/BOOT/grub.cfg asks before it says export superusers")
    files["EFI/BOOT/grub.cfg"] = b"cryptomount -a\n"
    assert checks.esp(files, wanted=want, luks_uuid=LUKS, modules=[])
