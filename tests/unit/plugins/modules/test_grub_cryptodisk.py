# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module on a small tree with scripted tools; the real ones are in tests/integration."""

from __future__ import annotations

import functools
import pathlib
import shlex
import subprocess

import efi
import pytest
import shells
from ansible_collections.sealedroot.image.plugins.module_utils._etc import drop_ins
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg as grub_cfg,
    embedded,
    install,
    launch_script,
    tpm_program,
    unlock_ways,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import grub_cryptodisk

LUKS = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
PLAIN = LUKS.replace("-", "")
ROOT = "0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10"
DEVICE = "/dev/mapper/cr_root"
VOLUME = f"cryptouuid/{PLAIN}"
NEEDED = [*grub_cfg.REQUIRED, "luks", "gcry_sha256", "ext2", *grub_cfg.MEMDISK]
SECRET_READERS = ("eval", "memrw", "test", "hashsum")
WITH_SECRET = [*NEEDED[: -len(grub_cfg.MEMDISK)], *SECRET_READERS, *grub_cfg.MEMDISK]
DEFAULTS = """\
# If you change this file, run update-grub.
GRUB_DEFAULT=0
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
"""


SELECTIONS = b"""\
grub-efi-amd64 grub2/enable_os_prober boolean false
grub-efi-amd64 grub2/force_efi_extra_removable boolean true
grub-efi-amd64 grub2/update_nvram boolean false
"""
# In any order, with questions that are no concern of ours.
ANSWERED = """\
* grub2/update_nvram: false
  grub-efi/install_devices_failed: false
* grub2/force_efi_extra_removable: true
* grub2/enable_os_prober: false
* grub2/linux_cmdline:
"""


DROP_INS_OF_DEBIAN = "for x in ${sysconfdir}/default/grub.d/*.cfg ; do\n"


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    library = tmp_path / "usr/lib/grub/x86_64-efi"
    library.mkdir(parents=True)
    for name in [*NEEDED, "zfs"]:
        (library / f"{name}.mod").write_text(name)
    (library / "moddep.lst").write_text("luks: cryptodisk\n")
    (tmp_path / "usr/sbin").mkdir()
    (tmp_path / "usr/sbin/grub-mkconfig").write_text(DROP_INS_OF_DEBIAN)
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "etc/default/grub").write_text(DEFAULTS)
    return tmp_path


def effective(root: pathlib.Path, name: str) -> str:
    """What grub-mkconfig would take for *name*, as its shell reads it."""
    drop_ins = sorted((root / "etc/default/grub.d").glob("*.cfg"))
    files = [path for path in (root / "etc/default/grub", *drop_ins) if path.exists()]
    lines = [f". {path}" for path in files]
    shell = ["sh", "-ec", "\n".join([*lines, f'printf %s "${{{name}-}}"'])]
    return subprocess.run(shell, capture_output=True, text=True, check=True).stdout


def drop_in(root: pathlib.Path, name: str, text: str) -> None:
    (root / "etc/default/grub.d").mkdir(exist_ok=True)
    (root / "etc/default/grub.d" / name).write_text(text)


def config(root: pathlib.Path, more: str = "") -> str:
    """What grub-mkconfig writes: what scripts of its directory print, and a menu of one kernel."""
    script = root / "etc/grub.d/06_sealedroot"
    printed = ""
    if script.exists():
        shell = subprocess.run([str(script)], capture_output=True, text=True, check=True)
        printed = shell.stdout
    words = effective(root, "GRUB_CMDLINE_LINUX")
    device = f"UUID={ROOT}"
    if effective(root, "GRUB_DISABLE_LINUX_UUID") == "true":
        device = effective(root, "GRUB_DEVICE") or "/dev/loop0"
        # Unset means true (10_linux).
        if effective(root, "GRUB_DISABLE_LINUX_PARTUUID") not in ("", "true"):
            device = "PARTUUID="
    search = ""
    if effective(root, "GRUB_DISABLE_UUID") != "true":
        search = f"\tsearch --no-floppy --fs-uuid --set=root {ROOT}\n"
    entry = f"{search}\tlinux\t/boot/vmlinuz-6 root={device} ro {words}\n"
    return f"{printed}{more}menuentry x --unrestricted {{\n{entry}}}\n"


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    target.write_bytes(source.read_bytes())


def ensure(
    root,
    runner,
    script,
    *,
    tools="",
    directory="grub",
    check_mode=False,
    more="",
    debconf=None,
    **params,
):
    """Run ensure() with tools that do what the real ones do; *debconf* is what debconf-show prints, None without it."""
    params = {
        "luks_uuid": LUKS,
        "root_uuid": ROOT,
        "root_device": DEVICE,
        "luks_type": "luks1",
        "hash": "sha256",
        "filesystem": "ext4",
        "kernel_cmdline": "console=tty0 console=ttyS0",
        "debug_console": False,
        "platform": "x86_64-efi",
        "secure_boot": None,
        "unlock": ["prompt"],
        "secret_area": None,
        "output_dir": "/run/sealedroot/esp",
        "launch_core": "/run/sealedroot/launch/core.efi",
        **params,
    }
    if debconf is None:
        runner.missing |= {"debconf-set-selections", "debconf-show"}
    else:
        script.expect(["debconf-show", "grub-efi-amd64"], stdout=debconf)
    if tools:
        prefix = "" if directory == "grub" else "2"
        esp = root / "run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI"
        sources = root / "boot" / directory / "sealedroot"
        # A command of many scripts, which GRUB need not have.
        wanted = ["test"] if (root / "usr/lib/grub/x86_64-efi/test.mod").exists() else []
        if "tpm2" in params["unlock"]:
            at = NEEDED.index("memdisk")
            more = [it for it in unlock_ways.TPM2.modules if it not in NEEDED]
            names_on_esp = [*NEEDED[:at], *more, *NEEDED[at:]]
        else:
            names_on_esp = [*NEEDED, *wanted]
        cores = [(esp, sources, names_on_esp)] if "prompt" in params["unlock"] else []
        if "launch_secret" in params["unlock"]:
            launch = root / "run/sealedroot/launch/core.efi"
            cores.append((launch, sources / "launch", WITH_SECRET))
        library = root / "usr/lib/grub/x86_64-efi"
        cfg = root / "boot" / directory / "grub.cfg"
        script.expect([f"grub{prefix}-probe", "--target=fs_uuid", "/"], stdout=f"{ROOT}\n")
        if debconf not in (None, ANSWERED):
            script.expect(["debconf-set-selections"], stdin=SELECTIONS)
        for core, place, names in cores:
            mkimage = (f"grub{prefix}-mkimage", "--format", "x86_64-efi")
            script.expect(
                [
                    *(*mkimage, "--directory", str(library)),
                    *("--config", str(place / "core.cfg")),
                    # Which sets a prefix of its own.
                    *("--memdisk", str(place / "memdisk.tar")),
                    *("--prefix", f"({VOLUME})/boot/{directory}", "--output", str(core), *names),
                ],
                effect=functools.partial(copy, place / "memdisk.tar", core),
            )
        script.expect(
            [f"grub{prefix}-mkconfig", "--output", str(cfg)],
            effect=lambda: cfg.write_text(config(root, more)),
        )
    return grub_cryptodisk.ensure(
        shells.WithShell(runner), params, root=str(root), check_mode=check_mode
    )


def test_everything_is_made(root, runner, script):
    outcome = ensure(root, runner, script, tools="yes")
    assert outcome["changed"]
    assert outcome["core_image"] == "/run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI"
    assert outcome["files"] == [
        "/boot/grub/sealedroot/core.cfg",
        "/boot/grub/sealedroot/memdisk.tar",
        "/boot/grub/sealedroot/modules",
        "/etc/default/grub.d/zzzz-sealedroot.cfg",
        "/etc/grub.d/06_sealedroot",
        "/usr/local/sbin/grub-install",
        "/boot/grub/grub.cfg",
        "/run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI",
    ]
    wanted = {
        "GRUB_DEFAULT": "0",
        "GRUB_CMDLINE_LINUX_DEFAULT": "quiet",
        "GRUB_CMDLINE_LINUX": "console=tty0 console=ttyS0",
        "GRUB_ENABLE_CRYPTODISK": "y",
        "GRUB_TERMINAL": "console",
        "GRUB_DISABLE_OS_PROBER": "true",
        "GRUB_DEVICE": DEVICE,
        "GRUB_DISABLE_LINUX_UUID": "true",
        "GRUB_DISABLE_UUID": "true",
        "GRUB_DISABLE_RECOVERY": "true",
    }
    assert {name: effective(root, name) for name in wanted} == wanted
    assert (root / "etc/default/grub").read_text() == DEFAULTS
    modules = root / "boot/grub/x86_64-efi"
    assert (modules / "luks.mod").read_text() == "luks"
    assert (modules / "moddep.lst").exists()


def test_the_core_image_runs_a_script_that_ends_in_no_shell(root, runner, script):
    ensure(root, runner, script, tools="yes")
    sources = root / "boot/grub/sealedroot"
    assert (sources / "core.cfg").read_text() == embedded.CONFIG
    assert (sources / "modules").read_text().split() == NEEDED
    text = install.read_memdisk((sources / "memdisk.tar").read_bytes())
    assert text == grub_cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub")


AREA = {"base": 0x810000, "size": 0xC00}
SECRET = {"unlock": ["launch_secret"], "secret_area": AREA}


@pytest.fixture
def with_memrw(root):
    for name in SECRET_READERS:
        (root / f"usr/lib/grub/x86_64-efi/{name}.mod").write_text(name)
    return root


def test_a_launch_secret_alone_leaves_nothing_that_asks(with_memrw, runner, script):
    outcome = ensure(with_memrw, runner, script, tools="yes", **SECRET)
    assert outcome["core_image"] == "/run/sealedroot/launch/core.efi"
    assert [*(with_memrw / "run/sealedroot/esp").rglob("*.EFI")] == []
    sources = with_memrw / "boot/grub/sealedroot"
    assert sorted(it.name for it in sources.iterdir()) == ["launch", "own_volume"]
    text = install.read_memdisk((sources / "launch/memdisk.tar").read_bytes())
    assert text == launch_script.script(
        luks_uuid=LUKS, directory="/boot/grub", area=ovmf.Area(**AREA)
    )
    # Nor after an update of GRUB on the machine.
    program = (with_memrw / "usr/local/sbin/grub-install").read_text()
    assert not [it for it in program.splitlines() if it and it[0] != "#" and it[:5] != "echo "]
    # Entries need no user, and e and c need one.
    assert grub_cfg.open_doors((with_memrw / "boot/grub/grub.cfg").read_text()) == []
    runner.missing.clear()
    assert not ensure(with_memrw, runner, script, tools="yes", **SECRET)["changed"]


def test_a_launch_secret_and_a_prompt_have_a_core_image_each(with_memrw, runner, script):
    both = {**SECRET, "unlock": ["launch_secret", "prompt"]}
    outcome = ensure(with_memrw, runner, script, tools="yes", **both)
    assert outcome["core_image"] == "/run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI"
    sources = with_memrw / "boot/grub/sealedroot"
    text = install.read_memdisk((sources / "memdisk.tar").read_bytes())
    assert text == grub_cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub")
    text = install.read_memdisk((sources / "launch/memdisk.tar").read_bytes())
    assert text == launch_script.script(
        luks_uuid=LUKS, directory="/boot/grub", area=ovmf.Area(**AREA), prompt=True
    )
    assert "grub-mkimage" in (with_memrw / "usr/local/sbin/grub-install").read_text()


@pytest.mark.parametrize("lacks", ["launch_core", "secret_area"])
def test_a_launch_secret_needs_a_place(with_memrw, runner, script, lacks):
    with pytest.raises(SealedRootError, match="needs secret_area and launch_core: give both"):
        ensure(with_memrw, runner, script, **{**SECRET, lacks: None})


def test_a_launch_secret_needs_a_module(root, runner, script):
    with pytest.raises(SealedRootError, match="the image's GRUB has no eval, memrw, test, hashsum"):
        ensure(root, runner, script, **SECRET)


def test_a_tpm_gives_the_key_before_the_script(root, runner, script):
    for name in unlock_ways.TPM2.modules:
        (root / f"usr/lib/grub/x86_64-efi/{name}.mod").write_text(name)
    sealed = {"unlock": ["prompt", "tpm2"]}
    outcome = ensure(root, runner, script, tools="yes", **sealed)
    assert outcome["core_image"] == "/run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI"
    sources = root / "boot/grub/sealedroot"
    assert (sources / "core.cfg").read_text() == tpm_program.config(luks_uuid=LUKS)
    # Nothing there is read from the EFI system partition, which is the host's.
    assert "fat" not in (sources / "modules").read_text().split()
    # Where the TPM does not give it, GRUB asks as it always does.
    text = install.read_memdisk((sources / "memdisk.tar").read_bytes())
    assert text == grub_cfg.unlock_script(luks_uuid=LUKS, directory="/boot/grub", own=True)
    program = root / tpm_program.PROGRAM[1:]
    assert program.stat().st_mode & 0o777 == 0o755
    assert f"{tpm_program.PROGRAM} ||" in (root / "usr/local/sbin/grub-install").read_text()
    runner.missing.clear()
    assert not ensure(root, runner, script, tools="yes", **sealed)["changed"]


@pytest.mark.parametrize("way", ["launch_secret", "tpm2"])
@pytest.mark.parametrize(
    ("option", "value"), [("luks_type", "luks2"), ("secure_boot", True), ("debug_console", True)]
)
def test_a_way_that_does_not_work_with_an_option(root, runner, script, way, option, value):
    before = sorted(root.rglob("*"))
    says = rf"unlock has {way}, but .*: take another way, or change {option}"
    with pytest.raises(SealedRootError, match=says):
        ensure(root, runner, script, unlock=["prompt", way], **{option: value})
    assert sorted(root.rglob("*")) == before


def test_the_menu_is_closed(root, runner, script):
    ensure(root, runner, script, tools="yes")
    text = (root / "boot/grub/grub.cfg").read_text()
    assert text.startswith('set superusers=""\nexport superusers\n')
    assert grub_cfg.open_doors(text) == []


def test_a_debug_console_leaves_them_open(root, runner, script):
    ensure(root, runner, script, tools="yes")
    assert ensure(root, runner, script, tools="yes", debug_console=True)["changed"]
    assert not (root / "etc/grub.d/06_sealedroot").exists()
    assert "superusers" not in (root / "boot/grub/grub.cfg").read_text()
    memdisk = (root / "boot/grub/sealedroot/memdisk.tar").read_bytes()
    assert "reboot" not in install.read_memdisk(memdisk)
    assert not ensure(root, runner, script, tools="yes", debug_console=True)["changed"]
    assert ensure(root, runner, script, tools="yes")["changed"]
    assert (root / "etc/grub.d/06_sealedroot").stat().st_mode & 0o777 == 0o755


def test_nothing_that_grub_mkconfig_wrote_searches_for_a_disk(root, runner, script):
    """GRUB before 2.04 takes no notice of GRUB_DISABLE_UUID, and scripts of others need not."""
    search = f"search --no-floppy --fs-uuid --set=boot {ROOT}\n"
    assert ensure(root, runner, script, tools="yes", more=search)["changed"]
    text = (root / "boot/grub/grub.cfg").read_text()
    assert "search" not in text
    assert f"set boot={VOLUME}\n" in text
    assert not ensure(root, runner, script, tools="yes", more=search)["changed"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("set root='hd0,gpt2'\n", "'set root='hd0,gpt2'' can find another disk"),
        ("unset superusers\n", "GRUB's editor and shell are open"),
        (
            "linux /boot/vmlinuz-5 root=UUID=1 console=tty0 console=ttyS0\n",
            f"not root={DEVICE}",
        ),
    ],
)
def test_what_a_script_of_the_root_adds_is_refused(root, runner, script, more, words):
    with pytest.raises(SealedRootError, match="would not boot") as caught:
        ensure(root, runner, script, tools="yes", more=more)
    assert words in str(caught.value)


def test_an_entry_of_an_iso_that_nobody_can_start_stays(root, runner, script):
    entry = "menuentry ISO {\n loopback loop /x.iso\n linux (loop)/vmlinuz boot=live\n}\n"
    ensure(root, runner, script, tools="yes", more=entry)
    assert entry in (root / "boot/grub/grub.cfg").read_text()
    opened = entry.replace("ISO", "ISO --unrestricted")
    with pytest.raises(SealedRootError, match="starts another system"):
        ensure(root, runner, script, tools="yes", more=opened)


def test_a_setting_of_a_drop_in_does_not_name_another_root(root, runner, script):
    drop_in(root, "50-mine.cfg", "GRUB_DEVICE=/dev/vda1\nGRUB_DISABLE_RECOVERY=false\n")
    ensure(root, runner, script, tools="yes")
    assert effective(root, "GRUB_DEVICE") == DEVICE
    assert effective(root, "GRUB_DISABLE_RECOVERY") == "true"


def test_words_that_open_the_console_leave_the_command_lines(root, runner, script):
    words = " ".join(guest.words("dracut", luks_uuid=LUKS))
    text = 'GRUB_CMDLINE_LINUX_DEFAULT="quiet systemd.gpt_auto=1 rd.break panic=0"\n'
    (root / "etc/default/grub").write_text(text)
    drop_in(root, "50-mine.cfg", 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX systemd.debug_shell"\n')
    outcome = ensure(root, runner, script, tools="yes", kernel_cmdline=words)
    assert outcome["dropped"] == ["systemd.debug_shell", "systemd.gpt_auto", "rd.break", "panic"]
    assert effective(root, "GRUB_CMDLINE_LINUX_DEFAULT") == "quiet"
    assert effective(root, "GRUB_CMDLINE_LINUX") == words
    assert not ensure(root, runner, script, tools="yes", kernel_cmdline=words)["changed"]


def test_four_calls(root, runner, script):
    assert ensure(root, runner, script, check_mode=True)["changed"]
    assert (root / "etc/default/grub").read_text() == DEFAULTS
    assert not (root / "boot").exists()
    assert ensure(root, runner, script, tools="yes")["changed"]
    assert not ensure(root, runner, script, tools="yes")["changed"]
    assert not ensure(root, runner, script, check_mode=True)["changed"]


@pytest.mark.parametrize(
    "before",
    [
        "",
        ANSWERED.replace("removable: true", "removable: false"),
        ANSWERED.replace("* grub2/update_nvram", "  grub2/update_nvram"),
    ],
    ids=["never asked", "another answer", "not seen"],
)
def test_debians_package_is_told_how_to_update_itself(root, runner, script, before):
    """Once, beside what else is changed; a question that is not marked as seen would be asked."""
    ensure(root, runner, script, tools="yes")
    runner.missing.clear()
    planned = ensure(root, runner, script, debconf=before, check_mode=True)
    done = ensure(root, runner, script, tools="yes", debconf=before)
    for outcome in (planned, done):
        assert (outcome["changed"], outcome["files"]) == (True, [])
        (diff,) = outcome["diff"]
        assert diff["after_header"] == "grub-efi-amd64"
        assert diff["before"] != diff["after"]
        assert "grub2/force_efi_extra_removable: true\n" in diff["after"]
        assert "install_devices" not in str(diff)
    for check in (True, False):
        tools = "" if check else "yes"
        again = ensure(root, runner, script, tools=tools, debconf=ANSWERED, check_mode=check)
        assert (again["changed"], again["diff"]) == (False, [])


def test_names_of_fedora_and_suse(root, runner, script):
    runner.missing = {"grub-mkconfig", "grub-mkimage", "grub-probe"}
    ensure(root, runner, script, tools="yes", directory="grub2")
    assert (root / "usr/local/sbin/grub2-install").exists()
    assert (root / "boot/grub2/x86_64-efi/luks.mod").exists()


def test_a_root_without_settings_gets_them(root, runner, script):
    (root / "etc/default/grub").unlink()
    ensure(root, runner, script, tools="yes")
    assert effective(root, "GRUB_ENABLE_CRYPTODISK") == "y"


def test_an_owners_terminal_stays(root, runner, script):
    (root / "etc/default/grub").write_text('GRUB_TERMINAL="serial console"\n')
    ensure(root, runner, script, tools="yes")
    assert effective(root, "GRUB_TERMINAL") == "serial console"


def test_disks_of_an_old_machine_leave_the_command_line(root, runner, script):
    (root / "etc/default/grub").write_text(
        'GRUB_CMDLINE_LINUX="root=/dev/sda1 net.ifnames=0"\n'
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet resume=UUID=1 cryptopts=target=x"\n'
    )
    outcome = ensure(root, runner, script, tools="yes")
    assert outcome["dropped"] == ["root", "resume", "cryptopts"]
    assert effective(root, "GRUB_CMDLINE_LINUX") == "net.ifnames=0 console=tty0 console=ttyS0"
    assert effective(root, "GRUB_CMDLINE_LINUX_DEFAULT") == "quiet"
    again = ensure(root, runner, script, tools="yes")
    assert (again["changed"], again["dropped"]) == (False, outcome["dropped"])


def test_of_a_word_that_leaves_the_name_is_said(root, runner, script):
    """The manifest has it, and the log: a word can have a password in it."""
    words = " ".join(guest.words("dracut", luks_uuid=LUKS))
    text = 'GRUB_CMDLINE_LINUX="root=iscsi:alice:hunter2@10.0.0.1::3260 quiet"\n'
    (root / "etc/default/grub").write_text(text)
    drop_in(root, "50-mine.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="root=iscsi:hunter2 root=x"\n')
    outcome = ensure(root, runner, script, check_mode=True, kernel_cmdline=words)
    assert outcome["dropped"] == ["root"]
    assert "hunter2" not in str(outcome)


def test_a_wanted_word_is_no_old_machines(root, runner, script):
    wanted = {"kernel_cmdline": "rd.luks.options=discard"}
    ensure(root, runner, script, tools="yes", **wanted)
    again = ensure(root, runner, script, tools="yes", **wanted)
    assert (again["changed"], again["dropped"]) == (False, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('GRUB_CMDLINE_LINUX="a=1 console=ttyS0"\n', "a=1 console=ttyS0 console=tty0"),
        (
            'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a=1"\n',
            "a=1 console=tty0 console=ttyS0",
        ),
        ("GRUB_CMDLINE_LINUX=\n", "console=tty0 console=ttyS0"),
    ],
)
def test_words_of_a_drop_in_stay_and_ours_come_to_them(root, runner, script, text, words):
    drop_in(root, "50-cloud.cfg", text)
    ensure(root, runner, script, tools="yes")
    assert effective(root, "GRUB_CMDLINE_LINUX").split() == words.split()
    assert not ensure(root, runner, script, tools="yes")["changed"]


def test_settings_of_a_drop_in_do_not_win(root, runner, script):
    text = (
        "GRUB_ENABLE_CRYPTODISK=n\nGRUB_FORCE_PARTUUID=1234\nGRUB_TIMEOUT=0\n"
        "GRUB_DISABLE_LINUX_PARTUUID=false\n"
    )
    drop_in(root, "40-force-partuuid.cfg", text)
    ensure(root, runner, script, tools="yes")
    assert effective(root, "GRUB_ENABLE_CRYPTODISK") == "y"
    assert effective(root, "GRUB_FORCE_PARTUUID") == ""
    assert effective(root, "GRUB_DISABLE_LINUX_PARTUUID") == "true"
    assert effective(root, "GRUB_TIMEOUT") == "0"


def test_disks_of_an_old_machine_in_a_drop_in_leave_the_command_lines(root, runner, script):
    text = (
        'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX rd.lvm.lv=vg/root quiet"\n'
        'GRUB_CMDLINE_LINUX_DEFAULT="resume=UUID=1 splash"\n'
    )
    drop_in(root, "50-cloud.cfg", text)
    outcome = ensure(root, runner, script, tools="yes")
    assert outcome["dropped"] == ["rd.lvm.lv", "resume"]
    words = effective(root, "GRUB_CMDLINE_LINUX").split()
    assert sorted(words) == ["console=tty0", "console=ttyS0", "quiet"]
    assert effective(root, "GRUB_CMDLINE_LINUX_DEFAULT") == "splash"
    assert not ensure(root, runner, script, tools="yes")["changed"]


def test_the_default_entry_is_one_of_the_new_root(root, runner, script):
    old = "11111111-2222-3333-4444-555555555555"
    entry = "gnulinux-advanced-{0}>gnulinux-6.1.0-9-amd64-advanced-{0}"
    (root / "etc/default/grub").write_text(f"GRUB_DEFAULT='{entry.format(old)}'\n")
    ensure(root, runner, script, tools="yes")
    # What entries are called where GRUB_DISABLE_UUID is set (GRUB: grub_get_device_id).
    assert effective(root, "GRUB_DEFAULT") == entry.format(DEVICE)
    assert not ensure(root, runner, script, tools="yes")["changed"]


def test_a_drop_in_of_ours_is_the_last(root, runner, script):
    drop_in(root, "zzz-site.cfg", "GRUB_DEVICE=/dev/sda1\nGRUB_DISABLE_UUID=\n")
    ensure(root, runner, script, tools="yes")
    assert (root / drop_ins.GRUB[1:]).exists()
    assert effective(root, "GRUB_DEVICE") == DEVICE
    assert effective(root, "GRUB_DISABLE_UUID") == "true"


BRANCH = """\
if [ -e /etc/grub-debug ]; then
    GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX debug"
    GRUB_ENABLE_CRYPTODISK=n
    GRUB_TERMINAL=gfxterm
fi
"""
FUNCTION = """\
add() { GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX $1"; }
add hugepages=8; add root=/dev/sda1
"""


@pytest.mark.parametrize("debian", [True, False], ids=["drop-in", "block"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BRANCH, ""),
        ('GRUB_CMDLINE_LINUX="hugepages=$(echo 16) quiet"\n', "hugepages=16 quiet"),
        ("GRUB_CMDLINE_LINUX=`echo resume=UUID=1 quiet`\n", "quiet"),
        (FUNCTION, "hugepages=8"),
        ("GRUB_CMDLINE_LINUX='nosmt a=* boot=UUID=1 fips=1'\n", "nosmt a=* fips=1"),
        ("GRUB_CMDLINE_LINUX='quiet;root=1 $HOME x'", "$HOME x"),
        # A line without an end must not take in what follows.
        ("GRUB_CMDLINE_LINUX=quiet", "quiet"),
        ('for n in 1 2; do GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX n$n"; done\n', "n1 n2"),
        ("IFS=,; GRUB_CMDLINE_LINUX='resume=x a=1,2 quiet'\n", "a=1,2 quiet"),
        ("GRUB_DISABLE_LINUX_UUID=false; readonly mine=1\n", ""),
    ],
)
def test_a_file_that_is_a_program_stays_one(root, runner, script, debian, text, words):
    if not debian:
        (root / "usr/sbin/grub-mkconfig").write_text("# no drop-ins")
    path = root / "etc/default/grub"
    path.write_text(text)
    ensure(root, runner, script, tools="yes")
    assert path.read_text().startswith(text)
    assert (path.read_text() == text) is debian
    assert (root / drop_ins.GRUB[1:]).exists() is debian
    wanted = f"{words} console=tty0 console=ttyS0".strip()
    assert " ".join(effective(root, "GRUB_CMDLINE_LINUX").split()) == wanted
    assert effective(root, "GRUB_ENABLE_CRYPTODISK") == "y"
    assert effective(root, "GRUB_TERMINAL") == "console"
    assert effective(root, "GRUB_DISABLE_LINUX_UUID") == "true"
    assert not ensure(root, runner, script, tools="yes")["changed"]


def test_a_word_with_another_value_at_each_run_is_taken_out(root, runner, script):
    made = "$(cat /proc/sys/kernel/random/uuid)"
    text = f'GRUB_CMDLINE_LINUX="root=UUID={made} mine ip=1.2.3.4:: ip=$1dhcp resume=a*"\n'
    (root / "etc/default/grub").write_text(text)
    ensure(root, runner, script, tools="yes")
    names = [it.partition("=")[0] for it in effective(root, "GRUB_CMDLINE_LINUX").split()]
    assert names == ["mine", "ip", "console", "console"]
    assert not ensure(root, runner, script, tools="yes")["changed"]
    # If the owner sets the name, that value stays where the root has it, too.
    (root / "etc/default/grub").write_text('GRUB_CMDLINE_LINUX="boot=nfs boot=local"\n')
    ensure(root, runner, script, tools="yes", kernel_cmdline="boot=local")
    assert effective(root, "GRUB_CMDLINE_LINUX") == "boot=local"


def test_a_block_is_replaced_and_not_repeated(root, runner, script):
    (root / "usr/sbin/grub-mkconfig").write_text("# no drop-ins")
    path = root / "etc/default/grub"
    ensure(root, runner, script, tools="yes")
    assert ensure(root, runner, script, tools="yes", kernel_cmdline="console=hvc0")["changed"]
    assert path.read_text().count("GRUB_ENABLE_CRYPTODISK") == 1
    # What the owner appends later counts for the next update of ours, too.
    path.write_text(f'{path.read_text()}GRUB_CMDLINE_LINUX="quiet"\n')
    assert ensure(root, runner, script, tools="yes", kernel_cmdline="console=hvc0")["changed"]
    assert effective(root, "GRUB_CMDLINE_LINUX") == "quiet console=hvc0"
    assert path.read_text().startswith(DEFAULTS)


def test_a_block_bears_the_usual_edit_of_a_line(root, runner, script):
    (root / "usr/sbin/grub-mkconfig").write_text("# no drop-ins")
    path = root / "etc/default/grub"
    path.write_text('GRUB_CMDLINE_LINUX="resume=x a"\nGRUB_CMDLINE_LINUX_DEFAULT="root=x b"\n')
    ensure(root, runner, script, tools="yes")
    lines = [it for it in path.read_text().splitlines() if it.startswith("GRUB_CMDLINE_LINUX")]
    assert all(len(shlex.split(it)) == 1 for it in lines)
    edit = 's/^GRUB_CMDLINE_LINUX.*/GRUB_CMDLINE_LINUX="mine"/'
    subprocess.run(["sed", "--in-place", edit, str(path)], check=True)
    subprocess.run(["sh", "-n", str(path)], check=True)
    assert effective(root, "GRUB_CMDLINE_LINUX") == "mine"
    assert effective(root, "GRUB_ENABLE_CRYPTODISK") == "y"


DOUBLINGS = "A=xxxxxxxx\n" + "A=$A$A\n" * 40


@pytest.mark.parametrize(
    "text", ["GRUB_TIMEOUT='never closed\n", "exit 0\n", "if x; then\n", DOUBLINGS]
)
def test_a_file_that_no_shell_reads_is_refused(root, runner, script, text):
    (root / "etc/default/grub").write_text(text)
    with pytest.raises(SealedRootError, match="no shell can read /etc/default/grub"):
        ensure(root, runner, script)
    assert not (root / drop_ins.GRUB[1:]).exists()


ENDS, UNREADABLE = "/etc/default/grub ends before its end", "no shell can read /etc/default/grub"


@pytest.mark.parametrize(
    ("text", "in_a_block", "in_a_drop_in"),
    [
        # A drop-in is read all the same.
        ("return 0\n", ENDS, ""),
        ("if true; then return; fi\n", ENDS, ""),
        (": <<EOF\n", ENDS, ""),
        ("readonly GRUB_CMDLINE_LINUX=x\n", UNREADABLE, UNREADABLE),
        ("readonly GRUB_DISABLE_UUID\n", UNREADABLE, UNREADABLE),
    ],
)
@pytest.mark.parametrize("is_block", [True, False])
def test_a_file_in_which_our_settings_do_not_count(
    root, runner, script, text, in_a_block, in_a_drop_in, is_block
):
    if is_block:
        (root / "usr/sbin/grub-mkconfig").write_text("# no drop-ins")
    (root / "etc/default/grub").write_text(text)
    message = in_a_block if is_block else in_a_drop_in
    if not message:
        assert ensure(root, runner, script, tools="yes")["changed"]
        return
    with pytest.raises(SealedRootError, match=message):
        ensure(root, runner, script)
    assert (root / "etc/default/grub").read_text() == text
    assert not (root / drop_ins.GRUB[1:]).exists()


FALSE_TEST = "GRUB_TIMEOUT=1\n[ -e /nope ] && GRUB_TIMEOUT=2\n"


@pytest.mark.parametrize(
    ("defaults", "more", "is_block", "fails"),
    [
        # grub-mkconfig ends where a command fails; our block is a last line that does not.
        (FALSE_TEST, "", False, True),
        ("", FALSE_TEST, False, True),
        (FALSE_TEST, "", True, False),
        ("false\nGRUB_TIMEOUT=1\n", "", True, True),
        (FALSE_TEST + "GRUB_TIMEOUT=3\n", "false || :\n", False, False),
    ],
)
def test_a_command_that_fails(root, runner, script, defaults, more, is_block, fails):
    if is_block:
        (root / "usr/sbin/grub-mkconfig").write_text("# no drop-ins")
    (root / "etc/default/grub").write_text(defaults)
    drop_in(root, "x.cfg", more)
    if not fails:
        assert ensure(root, runner, script, tools="yes")["changed"]
        assert not ensure(root, runner, script, tools="yes")["changed"]
        return
    with pytest.raises(SealedRootError, match=f"{UNREADABLE}.*a false test in the last line"):
        ensure(root, runner, script)


def test_a_word_with_a_wildcard_is_taken_as_it_is(root, runner, script):
    drop_in(root, "x.cfg", "GRUB_CMDLINE_LINUX=ab\n")
    ensure(root, runner, script, tools="yes", kernel_cmdline="a* b=$HOME")
    assert effective(root, "GRUB_CMDLINE_LINUX") == "ab a* b=$HOME"


def test_a_module_of_another_version_is_replaced(root, runner, script):
    stale = root / "boot/grub/x86_64-efi/luks.mod"
    stale.parent.mkdir(parents=True)
    stale.write_text("LUKS")
    assert ensure(root, runner, script, tools="yes")["changed"]
    assert stale.read_text() == "luks"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hash": "sha512"}, "no gcry_sha512: install a grub-efi package"),
        ({"filesystem": "zfs"}, "GRUB's module for zfs is not known"),
        ({"platform": "arm64-efi"}, "lacks GRUB's modules for arm64-efi: install"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_what_cannot_boot_is_refused_before_anything_is_touched(
    root, runner, script, change, words, check_mode
):
    with pytest.raises(SealedRootError, match=words):
        ensure(root, runner, script, check_mode=check_mode, **change)
    assert (root / "etc/default/grub").read_text() == DEFAULTS
    assert not (root / "run").exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"rc": 1, "stderr": "grub-probe: error: unknown filesystem."}, "unknown filesystem"),
        ({"stdout": "1234-ABCD\n"}, "it found '1234-ABCD'"),
    ],
)
def test_a_root_that_its_grub_cannot_read_is_refused(root, runner, script, answer, words):
    script.expect(["grub-probe", "--target=fs_uuid", "/"], **answer)
    with pytest.raises(SealedRootError, match=words):
        ensure(root, runner, script)
    assert (root / "etc/default/grub").read_text() == DEFAULTS


SIGNED = {"shim": "/shim", "grub": "/grub", "mok_manager": ""}


@pytest.fixture
def signed_root(root, script):
    """A root with signed boot files; grub-mkimage is not called for it."""
    modules = {*grub_cfg.REQUIRED, *grub_cfg.SIGNED, "luks", "gcry_sha256", "ext2"}
    (root / "shim").write_bytes(efi.signed(efi.program(b"shim")))
    (root / "grub").write_bytes(efi.signed(efi.program(efi.grub(modules))))
    (root / "boot").mkdir()
    (root / "boot/vmlinuz-6").write_bytes(efi.signed(efi.program(b"Linux")))
    script_d = root / "etc/grub.d/25_bli"
    script_d.parent.mkdir()
    script_d.write_text("#!/bin/sh\n")
    script_d.chmod(0o755)
    return root


def signed(root, runner, script, *, check_mode=False):
    if not check_mode:
        cfg = root / "boot/grub/grub.cfg"
        script.expect(["grub-probe", "--target=fs_uuid", "/"], stdout=f"{ROOT}\n")
        script.expect(
            ["grub-mkconfig", "--output", str(cfg)], effect=lambda: cfg.write_text(config(root))
        )
    return ensure(root, runner, script, check_mode=check_mode, secure_boot=SIGNED)


def test_secure_boot(signed_root, runner, script):
    esp = signed_root / "run/sealedroot/esp"
    (esp / "EFI/BOOT").mkdir(parents=True)
    (esp / "EFI/BOOT/OLD.EFI").touch()
    assert signed(signed_root, runner, script, check_mode=True)["changed"]
    outcome = signed(signed_root, runner, script)
    assert outcome["core_image"] == "/run/sealedroot/esp/EFI/BOOT/grubx64.efi"
    found = {str(path.relative_to(esp)) for path in esp.rglob("*") if path.is_file()}
    assert found == {
        *("EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi"),
        *("EFI/BOOT/grub.cfg", "EFI/debian/grub.cfg"),
    }
    assert {f"/run/sealedroot/esp/{name}" for name in found} < set(outcome["files"])
    stub = grub_cfg.stub(luks_uuid=LUKS, directory="/boot/grub")
    assert (esp / "EFI/debian/grub.cfg").read_text() == stub
    # Its only line would be an error under Secure Boot.
    assert "/etc/grub.d/25_bli" in outcome["files"]
    assert (signed_root / "etc/grub.d/25_bli").stat().st_mode & 0o777 == 0o644
    assert not signed(signed_root, runner, script)["changed"]


def test_an_unsigned_kernel_is_refused_before_anything_is_touched(signed_root, runner, script):
    (signed_root / "boot/vmlinuz-7").write_bytes(efi.program(b"Linux"))
    with pytest.raises(SealedRootError, match="/boot/vmlinuz-7 is not signed"):
        signed(signed_root, runner, script, check_mode=True)
    assert (signed_root / "etc/default/grub").read_text() == DEFAULTS
    assert (signed_root / "etc/grub.d/25_bli").stat().st_mode & 0o777 == 0o755


def test_a_kernel_that_grub_does_not_offer_needs_no_signature(signed_root, runner, script):
    (signed_root / "boot/vmlinuz-7.dpkg-tmp").write_bytes(efi.program(b"Linux"))
    assert signed(signed_root, runner, script, check_mode=True)["changed"]


def test_secure_boot_prepares_for_a_later_grub_install(signed_root, runner, script):
    """The signed GRUB has no early configuration of its own, so the stub is what must be put back."""
    signed(signed_root, runner, script)
    sources = signed_root / "boot/grub/sealedroot"
    assert [path.name for path in sources.iterdir()] == ["grub.cfg"]
    stub = grub_cfg.stub(luks_uuid=LUKS, directory="/boot/grub")
    assert (sources / "grub.cfg").read_text() == stub
    assert (signed_root / "usr/local/sbin/grub-install").stat().st_mode & 0o777 == 0o755


def test_a_configuration_that_would_not_boot_is_refused(root, runner, script):
    # No tool of today takes no notice of it.
    more = "linux /boot/vmlinuz-6 root=/dev/mapper/x console=tty0 console=ttyS0\n"
    with pytest.raises(SealedRootError, match="that would not boot") as caught:
        ensure(root, runner, script, tools="yes", more=more)
    assert f"gets root=/dev/mapper/x, not root={DEVICE}" in str(caught.value)
