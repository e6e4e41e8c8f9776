# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GRUB's own tools in a real Debian root on an ext4 of its own; that it boots is shown by tests/boot."""

from __future__ import annotations

import re
import shutil
import subprocess
import typing as t

import debian_root
import pytest
from debian_root import Image

LUKS_UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
PLAIN_UUID = LUKS_UUID.replace("-", "")
DEVICE = "/dev/mapper/cr_root"
WORDS = "console=tty0 console=ttyS0,115200 systemd.gpt_auto=0 panic=5 sysctl.kernel.sysrq=0"
CORE = "run/sealedroot/esp/EFI/BOOT/BOOTX64.EFI"
GRUB_CFG = "boot/grub/grub.cfg"
MENU_SCRIPT = "etc/grub.d/06_sealedroot"
DROP_IN = "etc/default/grub.d/zzzz-sealedroot.cfg"
SOURCES = "boot/grub/sealedroot"
PROGRAM = "usr/local/sbin/grub-install"
CLOSED = ['set superusers=""', "export superusers"]
# As Debian's cloud images have them.
CLOUD = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX earlyprintk=ttyS0"\nGRUB_TIMEOUT=0\n'
# What a person's own entry may say.
CUSTOM = "#!/bin/sh\ncat <<'EOF'\n{}\nEOF\n"
BRANCH = """\
if [ -e /etc/grub-debug ]; then
    GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX debug"
    GRUB_ENABLE_CRYPTODISK=n
fi
GRUB_CMDLINE_LINUX="hugepages=$(echo 16) root=UUID=1"
"""
PARTUUID = "GRUB_FORCE_PARTUUID=6f3c2c5e-0000-4000-8000-000000000000\n"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    with debian_root.on_a_file_system(tmp_path_factory.mktemp("grub")) as image:
        yield image


@pytest.fixture(autouse=True)
def _settings(image: Image) -> t.Iterator[None]:
    """Give each test the settings that the root came with."""
    before = image.text("etc/default/grub")
    yield
    image.write("etc/default/grub", before)
    (image.root / "etc/grub.d/45_test").unlink(missing_ok=True)
    for path in (image.root / "etc/default/grub.d").glob("*.cfg"):
        if path.name != "init-select.cfg":
            path.unlink()


def arguments(image: Image, **more: t.Any) -> dict[str, t.Any]:
    uuids = {"luks_uuid": LUKS_UUID, "root_uuid": image.root_uuid}
    return {**uuids, "root_device": DEVICE, "kernel_cmdline": WORDS, **more}


def kernels(image: Image) -> list[list[str]]:
    """The words of each kernel's line in grub.cfg."""
    lines = image.text(GRUB_CFG).splitlines()
    return [line.split() for line in lines if line.split()[:1] == ["linux"]]


def test_four_calls_and_what_is_there_then(image: Image) -> None:
    """The core image is compared byte by byte, so grub-mkimage is shown to be deterministic."""
    done = image.four_calls("grub_cryptodisk", **arguments(image))
    assert set(done["files"]) == {
        *(f"/{DROP_IN}", f"/{GRUB_CFG}", f"/{CORE}", f"/{MENU_SCRIPT}", f"/{PROGRAM}"),
        *(f"/{SOURCES}/{name}" for name in ("core.cfg", "memdisk.tar", "modules")),
    }
    for line in kernels(image):
        roots = [word for word in line if word.startswith("root=")]
        assert roots == [f"root={DEVICE}"]
        assert set(WORDS.split()) <= set(line)
        # It leads to sulogin(8).
        assert not {"single", "recovery"} & set(line)
    assert len(kernels(image)) >= 2
    image.shell(f"grub-script-check /{GRUB_CFG}")
    image.shell(
        "cd /usr/lib/grub/x86_64-efi; for f in *.mod *.lst; do cmp $f /boot/grub/x86_64-efi/$f; done"
    )


def test_debians_package_is_told_how_to_update_itself(image: Image) -> None:
    """Its own debconf has the answers, asked by another program than the one that is looked with."""
    question = "grub2/force_efi_extra_removable"
    image.task("grub_cryptodisk", **arguments(image))
    image.shell(f"echo grub-efi-amd64 {question} boolean false | debconf-set-selections")
    done = image.four_calls("grub_cryptodisk", **arguments(image))
    assert done["files"] == []
    for name, answer in (
        (question, "true"),
        ("grub2/update_nvram", "false"),
        ("grub2/enable_os_prober", "false"),
    ):
        asked = f"printf 'GET {name}\\nFGET {name} seen\\n'"
        quiet = "DEBIAN_FRONTEND=noninteractive debconf-communicate grub-efi-amd64"
        assert image.shell(f"{asked} | {quiet}").splitlines() == [f"0 {answer}", "0 true"]


def test_nothing_of_the_builder_is_in_the_configuration(image: Image) -> None:
    assert not image.task("grub_cryptodisk", **arguments(image))["failed"]
    text = image.text(GRUB_CFG)
    # The names of what is read, and of what wrote it.
    text = text.replace(DEVICE, "").replace(f"/{MENU_SCRIPT}", "")
    assert not re.search(r"/dev/(?!null)|loop\d|sealedroot|tmp/", text), text


def test_nobody_gets_the_editor_or_the_shell(image: Image) -> None:
    assert not image.task("grub_cryptodisk", **arguments(image))["failed"]
    lines = [line.strip() for line in image.text(GRUB_CFG).splitlines()]
    first = next(at for at, line in enumerate(lines) if re.match("menuentry |submenu ", line))
    before = lines[:first]
    assert before[before.index(CLOSED[0]) + 1] == CLOSED[1]
    option = 'menuentry_id_option="--unrestricted --id"'
    # Its last word on that, and what every entry has.
    named = [line for line in before if line.startswith("menuentry_id_option=")]
    assert named[-1] == option
    entries = [line for line in lines if re.match("menuentry |submenu ", line)]
    assert len(entries) >= 2
    assert [line for line in entries if "$menuentry_id_option" not in line] == []


def test_nothing_is_searched_for(image: Image) -> None:
    """A disk of the host can have every UUID. As the build makes it, and as a later update-grub does."""
    custom = f"search --no-floppy --fs-uuid --set=root {image.root_uuid}"
    image.write("etc/grub.d/45_test", CUSTOM.format(custom))
    (image.root / "etc/grub.d/45_test").chmod(0o755)
    assert not image.task("grub_cryptodisk", **arguments(image))["failed"]
    text = image.text(GRUB_CFG)
    roots = re.findall(r"^\s*set root=(.*)$", text, re.MULTILINE)
    # The person's own; grub-mkconfig is told to search for nothing.
    assert len(roots) == 1
    assert {root.strip("'") for root in roots} == {f"cryptouuid/{PLAIN_UUID}"}
    assert "search" not in text.split()
    assert image.root_uuid not in text
    (image.root / "etc/grub.d/45_test").unlink()
    later = image.shell("grub-mkconfig 2>/dev/null")
    assert "search" not in later.split()
    assert image.root_uuid not in later


def test_an_open_console_for_development(image: Image) -> None:
    done = image.task("grub_cryptodisk", **arguments(image, debug_console=True))
    assert not done["failed"], done
    text = image.text(GRUB_CFG)
    assert "superusers" not in text
    assert "--unrestricted --id" not in text
    assert not (image.root / MENU_SCRIPT).exists()
    script = memdisk(image)
    assert "superusers" not in script
    assert not {"halt", "reboot"} & set(script.split())
    # The rest is as ever.
    assert [line for line in kernels(image) if f"root={DEVICE}" not in line] == []
    assert script.count("cryptomount") == 1
    again = image.task("grub_cryptodisk", **arguments(image))
    assert f"/{MENU_SCRIPT}" in again["files"]
    assert memdisk(image).splitlines()[:2] == CLOSED


def core(image: Image) -> bytes:
    return (image.esp / CORE.removeprefix("run/sealedroot/esp/")).read_bytes()


def memdisk(image: Image) -> str:
    """The script in the memdisk of the core image, unpacked by tar; it is the only file."""
    data = core(image)
    archive = data[data.index(b"ustar\x0000") - 257 :]
    listed, script = (
        subprocess.run(["tar", option, "-f", "-"], input=archive, capture_output=True, check=True)
        for option in ("-t", "-xO")
    )
    assert listed.stdout == b"grub.cfg\n"
    return script.stdout.decode("ascii")


def test_the_core_image_asks_by_uuid(image: Image) -> None:
    image.task("grub_cryptodisk", **arguments(image))
    data = core(image)
    assert data.startswith(b"MZ")
    begin = 'set superusers=""\nexport superusers\nnormal (memdisk)/grub.cfg\nhalt\n'
    assert f"\0{begin}\0".encode() in data
    assert f"\0(cryptouuid/{PLAIN_UUID})/boot/grub\0".encode() in data
    assert LUKS_UUID.encode() not in data
    modules = ("cryptodisk", "luks", "gcry_sha256", "gcry_rijndael", "ext2", "part_gpt", "normal")
    for module in (*modules, "configfile", "memdisk", "tar", "echo", "halt", "reboot", "sleep"):
        assert f"\0{module}\0".encode() in data
    assert b"\0luks2\0" not in data


def test_what_the_core_image_runs(image: Image) -> None:
    """GRUB's own parser takes it, and its own reader of tar finds it where the core image looks."""
    image.task("grub_cryptodisk", **arguments(image))
    script = memdisk(image)
    lines = [line.strip() for line in script.splitlines()]
    # Closed before anything is asked, three times asked, and no end that is a shell.
    assert lines[:2] == CLOSED
    assert lines[2:4] == ["for try in 1 2 3; do", f"if cryptomount -u {PLAIN_UUID}; then"]
    opened = lines[4 : lines.index("halt") + 1]
    assert opened[0] == f"set root=cryptouuid/{PLAIN_UUID}"
    assert f"set prefix=(cryptouuid/{PLAIN_UUID})/boot/grub" in opened
    assert opened[opened.index("configfile $prefix/grub.cfg") + 1 :][-1] == "halt"
    assert lines[-1] == "reboot"
    image.shell(f"tar -xOf /{SOURCES}/memdisk.tar grub.cfg >/run/script")
    assert (image.run / "script").read_text() == script
    image.shell("grub-script-check /run/script")
    loop = debian_root.run("grub-fstest", image.root / SOURCES / "memdisk.tar", "ls", "(loop0)/")
    assert loop.split() == ["grub.cfg"]
    read = debian_root.run(
        "grub-fstest", image.root / SOURCES / "memdisk.tar", "cat", "(loop0)/grub.cfg"
    )
    assert read == script.strip()


# What the image's grub-install does in a machine: a core image that would end in a shell, and its own copy of it.
INSTALL = """#!/bin/sh
echo "$*" >>/run/grub-install
mkdir -p /boot/efi/EFI/BOOT /boot/efi/EFI/debian
echo distribution >/boot/efi/EFI/BOOT/BOOTX64.EFI
echo distribution >/boot/efi/EFI/debian/grubx64.efi
echo shim >/boot/efi/EFI/debian/shimx64.efi
"""


def test_a_later_grub_install_makes_the_same_core_image(image: Image) -> None:
    """As root and as a package's script call it; the firmware's variables are left alone."""
    image.task("grub_cryptodisk", **arguments(image))
    want = core(image)
    stand_ins = {
        "usr/sbin/grub-install": INSTALL,
        "usr/bin/mountpoint": '#!/bin/sh\n[ "$*" = "-q /boot/efi" ]\n',
    }
    try:
        for name, text in stand_ins.items():
            path = image.root / name
            path.rename(path.with_name("hidden"))
            path.write_text(text)
            path.chmod(0o755)
        image.shell("PATH=/usr/local/sbin:/usr/sbin:/usr/bin; grub-install --target=x86_64-efi")
        esp = image.root / "boot/efi/EFI"
        assert (esp / "BOOT/BOOTX64.EFI").read_bytes() == want
        assert (esp / "debian/grubx64.efi").read_bytes() == want
        assert (esp / "debian/shimx64.efi").read_text() == "shim\n"
        # Nothing is done for a question.
        image.shell("/usr/local/sbin/grub-install --version")
    finally:
        for name in stand_ins:
            path = image.root / name
            path.with_name("hidden").rename(path)
        shutil.rmtree(image.root / "boot/efi", ignore_errors=True)
    calls = (image.run / "grub-install").read_text().splitlines()
    assert calls == ["--no-nvram --target=x86_64-efi", "--version"]
    assert sorted(it.name for it in (image.root / SOURCES).iterdir()) == [
        *("core.cfg", "memdisk.tar", "modules")
    ]
    assert {it.stat().st_mode & 0o777 for it in (image.root / SOURCES).iterdir()} == {0o600}


def test_luks2_and_another_hash(image: Image) -> None:
    done = image.task("grub_cryptodisk", **arguments(image, luks_type="luks2", hash="sha512"))
    assert f"/{CORE}" in done["files"]
    assert b"\0luks2\0" in core(image)
    assert b"\0gcry_sha512\0" in core(image)


def test_drop_ins_of_a_cloud_image(image: Image) -> None:
    image.write("etc/default/grub.d/10_cloud.cfg", CLOUD)
    image.write("etc/default/grub.d/40-force-partuuid.cfg", PARTUUID)
    image.task("grub_cryptodisk", **arguments(image))
    assert kernels(image)
    for line in kernels(image):
        assert f"root={DEVICE}" in line
        assert {*WORDS.split(), "earlyprintk=ttyS0"} <= set(line)
        assert len(line) == len(set(line))
        assert not [word for word in line if word.startswith("root=PARTUUID")]
    assert not image.task("grub_cryptodisk", **arguments(image))["changed"]


def test_the_root_of_an_installed_machine(image: Image) -> None:
    old = 'GRUB_CMDLINE_LINUX="root=/dev/vg/root net.ifnames=0 systemd.gpt_auto=1 panic=0"\n'
    old += 'GRUB_CMDLINE_LINUX_DEFAULT="quiet resume=UUID=5555 rd.shell console=ttyS1"\n'
    image.write("etc/default/grub", old)
    done = image.task("grub_cryptodisk", **arguments(image))
    # What contradicts ours goes, too; a second console does not.
    gone = ["root=/dev/vg/root", "systemd.gpt_auto=1", "panic=0", "resume=UUID=5555", "rd.shell"]
    assert done["dropped"] == [word.partition("=")[0] for word in gone]
    for line in kernels(image):
        assert not set(gone) & set(line)
        assert "console=ttyS1" in line
        assert "net.ifnames=0" in line


def test_settings_that_are_a_program(image: Image) -> None:
    """As the root's own grub-mkconfig and shell read them."""
    text = image.text("etc/default/grub") + BRANCH
    image.write("etc/default/grub", text)
    image.task("grub_cryptodisk", **arguments(image))
    assert image.text("etc/default/grub") == text
    for line in kernels(image):
        assert {*WORDS.split(), "hugepages=16"} <= set(line)
        assert not {"debug", "root=UUID=1"} & set(line)


def test_a_root_without_settings_and_without_boot_grub(image: Image) -> None:
    (image.root / "etc/default/grub").unlink()
    shutil.rmtree(image.root / "boot/grub")
    done = image.task("grub_cryptodisk", **arguments(image))
    assert done["changed"]
    assert "GRUB_ENABLE_CRYPTODISK=y" in image.text(DROP_IN).splitlines()
    assert not (image.root / "etc/default/grub").exists()
    assert kernels(image)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("GRUB_TIMEOUT='never closed\n", "grub-mkconfig"),
        (
            "linux /vmlinuz root=/dev/sda2",
            "gets root=/dev/sda2, not root=/dev/mapper/cr_root",
        ),
        (f"linux /vmlinuz root={DEVICE}", f"/vmlinuz does not get {WORDS}"),
        ("unset superusers", "GRUB's editor and shell are open"),
    ],
)
def test_settings_that_would_not_boot_or_open_a_door(
    image: Image, settings: str, words: str
) -> None:
    if settings.startswith("GRUB"):
        image.write("etc/default/grub", settings)
    else:
        image.write("etc/grub.d/45_test", CUSTOM.format(settings))
        (image.root / "etc/grub.d/45_test").chmod(0o755)
    done = image.task("grub_cryptodisk", **arguments(image))
    assert done["failed"]
    assert words in done["msg"]


def test_another_root_is_refused_before_anything_is_touched(image: Image) -> None:
    before = image.text("etc/default/grub")
    done = image.task("grub_cryptodisk", **arguments(image, root_uuid=LUKS_UUID))
    assert done["failed"]
    assert image.root_uuid in done["msg"]
    assert image.text("etc/default/grub") == before
    assert not (image.root / DROP_IN).exists()


def test_what_the_images_grub_lacks_is_named(image: Image) -> None:
    hidden = image.root / "usr/lib/grub/hidden"
    module = image.root / "usr/lib/grub/x86_64-efi/luks.mod"
    module.rename(hidden)
    try:
        done = image.task("grub_cryptodisk", "--check", **arguments(image))
        other = image.task("grub_cryptodisk", **arguments(image, platform="arm64-efi"))
    finally:
        hidden.rename(module)
    assert "has no luks: install" in done["msg"]
    assert "lacks GRUB's modules for arm64-efi: install grub-efi" in other["msg"]
