# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each family's way from a root tar to the next kernel update, on trees of distributions that cannot be had here."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import typing as t

import distribution_trees as trees
import pytest
import unlocking
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._audit import checks
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries as grub_boot_entries,
    cfg,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest, running_root
from ansible_collections.sealedroot.image.plugins.module_utils._root import packed
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import (
    boot_entries,
    grub_cryptodisk,
)
from distribution_tools import Here, Tools, first_boot, kernel_install_add

LUKS = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
ROOT = "0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10"
DEVICE = f"/dev/mapper/luks-{LUKS}"
WORDS = guest.words("dracut", luks_uuid=LUKS)
PINNED = f"/etc/cryptsetup-headers.d/luks-{LUKS}.header"
KEY = "k" * 44
BLS = [it for it in trees.ALL if it.entries]

each = pytest.mark.parametrize("it", trees.ALL, ids=lambda it: it.name)
with_entries = pytest.mark.parametrize("it", BLS, ids=lambda it: it.name)


@pytest.fixture
def root(it: trees.Distribution, tmp_path: pathlib.Path) -> pathlib.Path:
    root = trees.make(it, tmp_path / "root")
    (root / "run/sealedroot").mkdir(parents=True)
    (root / "run/sealedroot/boot.key").write_text(KEY)
    (root / "run/sealedroot/luks.header").write_text("a LUKS header")
    return root


def judged(text: str, words: t.Sequence[str] = WORDS) -> list[str]:
    """What the audit says of a menu."""
    return checks.grub_cfg(
        text, root_device=DEVICE, root_uuid=ROOT, luks_uuid=LUKS, words=words, builder_words=()
    )


def look(root: pathlib.Path) -> dict[str, t.Any]:
    tar = root.parent / "root.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(tar), "."], check=True)
    params: dict[str, t.Any] = {
        "get_checksum": False,
        "families": FAMILIES,
        "filesystem": "ext4",
        "secure_boot": None,
    }
    found: dict[str, t.Any] = packed.describe(Here(), str(tar), params, digest=None)["root"]
    return found


FAMILIES = LookupModule().run([])


class Build:
    """What the stages of a build do to a root; each returns whether it changed anything."""

    def __init__(self, it: trees.Distribution, root: pathlib.Path) -> None:
        self.it, self.root = it, root
        self.tools = Tools(it, root, ROOT)
        # roles/bootloader/vars/main.yml
        self.own = guest.words(it.initramfs, luks_uuid=LUKS)
        self.words = " ".join(["console=ttyS0", *self.own])

    def initramfs(self) -> dict[str, t.Any]:
        return unlocking.ensure(self.root, generator=self.it.initramfs, luks_uuid=LUKS)

    def grub(self) -> dict[str, t.Any]:
        params = {
            "luks_uuid": LUKS,
            "root_uuid": ROOT,
            "root_device": DEVICE,
            "debug_console": False,
            "luks_type": "luks1",
            "hash": "sha256",
            "filesystem": "ext4",
            "kernel_cmdline": self.words,
            "platform": "x86_64-efi",
            "output_dir": "/run/sealedroot/esp",
            "unlock": ["prompt"],
            "secret_area": None,
            "launch_core": "/run/sealedroot/launch/core.efi",
            "secure_boot": None,
        }
        return grub_cryptodisk.ensure(self.tools, params, root=str(self.root), check_mode=False)

    def entries(self, *, check_mode: bool = False) -> dict[str, t.Any]:
        return boot_entries.ensure(
            self.tools, {"root_device": DEVICE}, root=str(self.root), check_mode=check_mode
        )

    def all(self) -> list[bool]:
        changed = [self.initramfs()["changed"], self.grub()["changed"]]
        if self.it.family != "arch":
            changed.append(self.entries()["changed"])
        return changed

    def config(self) -> str:
        """What GRUB makes of the menu, put together as the audit does."""
        boot = self.root / "boot"
        entries = {path.name: path.read_text() for path in (boot / "loader/entries").glob("*.conf")}
        env = boot / self.it.grub / "grubenv"
        variables = grub_boot_entries.parse_env(env.read_bytes()) if env.exists() else {}
        config = (boot / self.it.grub / "grub.cfg").read_text()
        return grub_boot_entries.rendered(config, entries, variables)


@pytest.fixture
def build(it: trees.Distribution, root: pathlib.Path) -> Build:
    return Build(it, root)


@each
def test_a_root_tar_is_known_and_lacks_nothing(it, root):
    found = look(root)
    assert found["family"] == it.family
    assert found["kernels"] == sorted(it.kernels)
    assert found["initramfs"] == it.initramfs
    assert found["missing_packages"] == []
    assert found["problems"] == []
    # SHA-512 is in no such GRUB, which the role source refuses by this.
    assert found["has"]["grub_modules"] == {
        "x86_64-efi": ["ext2", "gcry_sha256", "luks", "luks2", "xfs"]
    }


@each
def test_what_is_missing_has_the_distributions_name(it, root):
    for path in [
        *root.glob("boot/vmlinuz*"),
        *root.glob("usr/bin/*"),
        *root.glob(f"{it.modules}/*"),
    ]:
        if path.name not in ("bash", "sh"):
            path.unlink()
    (root / "etc/fstab").unlink()  # whose line for /boot would explain why there is no kernel
    packages = {
        "redhat": ["kernel-core", "grub2-tools", "dracut", "cryptsetup"],
        "suse": ["kernel-default", "grub2", "dracut", "cryptsetup"],
        "arch": ["linux", "grub", "mkinitcpio", "cryptsetup"],
    }
    assert look(root)["missing_packages"] == packages[it.family]


@each
def test_a_generator_that_the_family_has_no_role_for_is_refused(it, root):
    """Arch's dracut and a mkinitcpio elsewhere: what would be set up, no kernel update would ever run."""
    other = "dracut" if it.initramfs == "mkinitcpio" else "mkinitcpio"
    (root / "usr/bin" / it.initramfs).rename(root / "usr/bin" / other)
    problems = look(root)["problems"]
    assert [it for it in problems if f"built by {other}, and for the family" in it], problems
    assert f"Install {it.initramfs} in the root instead." in problems[-1]


@each
def test_missing_modules_of_grub_are_a_package(it, root):
    for path in root.glob(f"{it.modules}/*.mod"):
        path.unlink()
    names = {"redhat": "grub2-efi-x64-modules", "suse": "grub2-x86_64-efi", "arch": "grub"}
    assert look(root)["missing_packages"] == [names[it.family]]


@each
def test_a_second_run_changes_nothing(build):
    assert all(build.all())
    assert not any(build.all())


@each
def test_every_kernel_boots_this_root_and_knows_no_other_machine(build, it):
    build.all()
    text = build.config()
    assert judged(text, build.own) == []
    for kernel in re.findall(r"^\s*linux\s+(\S+)", text, re.MULTILINE):
        assert (build.root / kernel[1:]).exists()
    names = checks.initrds(text)
    assert len(names) == len(it.kernels)
    assert all((build.root / name[1:]).exists() for name in names)
    for word in build.words.split():
        assert len(
            re.findall(rf"^\s*linux .*{re.escape(word)}", text.replace("\t", " "), re.M)
        ) == len(it.kernels)
    for old in ("old", "resume=", "rd.lvm"):
        assert old not in " ".join(re.findall(r"^\s*linux.*$", text, re.MULTILINE))


@each
def test_nobody_at_the_console_gets_grubs_shell_and_nothing_is_searched_for(build, it):
    build.all()
    text = build.config()
    assert cfg.open_doors(text) == []
    assert cfg.strays(text, luks_uuid=LUKS) == []
    assert ("set boot=cryptouuid/" in text) == (it.name == "rhel8")
    if it.entries:
        for path in (build.root / "boot/loader/entries").iterdir():
            assert "\ngrub_arg --unrestricted\n" in path.read_text()


@pytest.mark.parametrize("it", [trees.RHEL8, trees.RHEL9], ids=lambda it: it.name)
@pytest.mark.parametrize("line", ["", "grub_arg --id x\n"])
def test_an_entry_asks_nobody_for_a_password(build, line):
    """Nobody has one, so such an entry would never boot."""
    for path in (build.root / "boot/loader/entries").iterdir():
        path.write_text(path.read_text().replace("grub_arg --unrestricted\n", line))
    build.all()
    for path in (build.root / "boot/loader/entries").iterdir():
        assert grub_boot_entries.get(path.read_text(), "grub_arg") == "--unrestricted"
    assert not build.entries()["changed"]


@with_entries
def test_words_that_open_the_console_leave_every_entry(build, it):
    opening = "rd.break systemd.debug-shell=1 panic=0 systemd.gpt_auto=1 rd.luks.uuid=luks-old"
    for path in (build.root / "boot/loader/entries").iterdir():
        text = path.read_text()
        options = grub_boot_entries.get(text, "options")
        path.write_text(grub_boot_entries.put(text, "options", f"{options} {opening}"))
    (build.root / "etc/kernel").mkdir(exist_ok=True)
    (build.root / "etc/kernel/cmdline").write_text(f"root=/dev/sda1 ro {opening}\n")
    build.all()
    assert judged(build.config(), build.own) == []
    words = (build.root / "etc/kernel/cmdline").read_text().split()
    assert words[:2] == [f"root={DEVICE}", "ro"]
    assert not {*opening.split()} & {*words}
    assert not build.entries()["changed"]


@each
def test_a_search_that_was_left_would_be_found(build, it):
    """As an owner's grub-mkconfig writes it who takes the setting away."""
    build.all()
    path = build.root / "etc/default/grub"
    path.write_text(path.read_text().replace("GRUB_DISABLE_UUID=true\n", ""))
    build.tools.mkconfig(build.root / "boot" / it.grub / "grub.cfg")
    assert any("can find a disk of the host" in said for said in judged(build.config(), build.own))


@each
def test_the_core_image_is_made_by_the_roots_own_tools(build, it):
    build.all()
    mkimage = next(argv for argv in build.tools.argv if argv[0].endswith("mkimage"))
    assert mkimage[0] == f"/usr/bin/{it.grub}-mkimage"
    assert mkimage[mkimage.index("--directory") + 1] == f"{build.root}/{it.modules}"
    assert mkimage[mkimage.index("--prefix") + 1].endswith(f"/boot/{it.grub}")
    assert ("blscfg" in mkimage) == (it.family == "redhat")
    assert mkimage[mkimage.index("--memdisk") + 1].endswith(
        f"/boot/{it.grub}/sealedroot/memdisk.tar"
    )
    # What the machine's own later one does is another matter; grub2-install refuses EFI on Fedora and RHEL.
    assert (build.root / f"usr/local/sbin/{it.grub}-install").exists()
    assert not any(argv[0].endswith("install") for argv in build.tools.argv)


@each
def test_every_initramfs_gets_the_key_and_needs_no_other_machine(build, it):
    build.all()
    key = f"/etc/cryptsetup-keys.d/luks-{LUKS}.key"
    if it.initramfs == "dracut":
        conf = (build.root / "etc/dracut.conf.d/_sealedroot.conf").read_text()
        assert 'hostonly="no"' in conf  # after 01-dist.conf, which says yes
        assert f" {key} {PINNED} " in conf
        assert 'dracut_rescue_image="no"' in conf
        form = "/boot/initrd-{}" if it.family == "suse" else "/boot/initramfs-{}.img"
        images = [image["path"] for image in build.initramfs()["initramfs"]]
        assert images == [form.format(version) for version in sorted(it.kernels)]
    else:
        conf = (build.root / "etc/mkinitcpio.conf").read_text()
        assert "autodetect" not in conf
        assert f"FILES=({key} {PINNED} " in conf
        assert "HOOKS=(base systemd " in conf
        assert " block sd-encrypt filesystems" in conf
    assert (build.root / PINNED[1:]).read_text() == "a LUKS header"
    assert f",header={PINNED}\n" in (build.root / "etc/crypttab").read_text()
    assert (build.root / "etc/fstab").read_text().splitlines() == [
        f"{DEVICE} / ext4 errors=remount-ro 0 1",
        "LABEL=ESP /boot/efi vfat noauto,nodev,noexec,nosuid,umask=0077 0 0",
    ]


@with_entries
def test_no_entry_is_of_a_machine(build, it):
    build.all()
    found = {path.name for path in (build.root / "boot/loader/entries").iterdir()}
    assert found == {f"{grub_boot_entries.TOKEN}-{version}.conf" for version in it.kernels}
    env = grub_boot_entries.parse_env((build.root / "boot/grub2/grubenv").read_bytes())
    assert env["saved_entry"] == f"{grub_boot_entries.TOKEN}-{it.kernels[0]}"
    everything = subprocess.run(
        ["grep", "-rl", trees.OLD_ID, str(build.root / "boot"), str(build.root / "etc")],
        capture_output=True,
        text=True,
        check=False,
    )
    left = {os.path.relpath(path, build.root) for path in everything.stdout.splitlines()}
    # The identity stage empties the first; the second is on the old machine's ESP.
    assert left <= {"etc/machine-id", "boot/efi/EFI/redhat/grubenv"}


@with_entries
def test_what_cannot_boot_leaves(build):
    build.grub()
    outcome = build.entries()
    assert outcome["dropped"] == [
        f"{trees.OLD_ID}-0-rescue.conf",
        f"{trees.OLD_ID}-1.0-gone.conf",
        f"/boot/vmlinuz-0-rescue-{trees.OLD_ID}",
        f"/boot/initramfs-0-rescue-{trees.OLD_ID}.img",
    ]
    assert not list((build.root / "boot").glob("*rescue*"))


@with_entries
def test_an_owners_words_stay(build, it):
    build.all()
    if it.entries == "literal" and it.name != "fedora":  # whose own grub2-mkconfig drops them
        assert build.config().count(" mem=2G") == len(it.kernels)
    assert ("mem=1G" in (build.root / "etc/kernel/cmdline").read_text()) == (it.name == "fedora")


@with_entries
def test_check_mode_touches_nothing(build):
    build.grub()
    before = {path: path.read_bytes() for path in build.root.rglob("*") if path.is_file()}
    outcome = build.entries(check_mode=True)
    assert outcome["changed"]
    assert {path: path.read_bytes() for path in build.root.rglob("*") if path.is_file()} == before
    assert f"/boot/loader/entries/{trees.OLD_ID}-0-rescue.conf" in outcome["files"]
    # Not what the words are: those of the old machine can have a password in them.
    shown = {it["before_header"]: it["after"] for it in outcome["diff"]}
    assert "(secret)" in {text for name, text in shown.items() if "loader/entries" in name}
    assert not any("root=" in text for text in shown.values())


@with_entries
def test_the_next_kernel_boots_this_root_and_is_the_default(build, it):
    build.all()
    first_boot(build.root)
    version = {"rhel8": "4.18.0-999.el8.x86_64"}.get(it.name, "7.0.0-1.x86_64")
    name = kernel_install_add(it, build.root, version)
    text = build.config()
    assert judged(text) == []
    (line,) = re.findall(rf"^linux /boot/vmlinuz-{re.escape(version)} (.*)$", text, re.MULTILINE)
    assert set(build.words.split()) < set(line.split())
    env = grub_boot_entries.parse_env((build.root / "boot/grub2/grubenv").read_bytes())
    assert f"{env['saved_entry']}.conf" == name
    if it.name != "rhel8":  # sorted by version only, and removed with its kernel
        assert name.startswith(grub_boot_entries.TOKEN)


@with_entries
def test_the_environment_block_is_grubs_own_file(build):
    build.all()
    path = build.root / "boot/grub2/grubenv"
    assert not path.is_symlink()
    data = path.read_bytes()
    assert len(data) == 1024
    assert data.startswith(b"# GRUB Environment Block\n")
    assert grub_boot_entries.parse_env(data)["boot_success"] == "0"


@pytest.mark.parametrize("it", [trees.RHEL8], ids=lambda it: it.name)
def test_rhel_8_goes_on_to_take_words_from_the_environment(build, it):
    build.all()
    env = grub_boot_entries.parse_env((build.root / "boot/grub2/grubenv").read_bytes())
    assert env["kernelopts"].startswith(f"root={DEVICE} ro ")
    for path in (build.root / "boot/loader/entries").iterdir():
        assert "options $kernelopts $tuned_params\n" in path.read_text()
        assert path.read_text().count(" $tuned_initrd\n") == 1


@pytest.mark.parametrize("it", [trees.RHEL10], ids=lambda it: it.name)
def test_a_kernel_without_an_entry_gets_one(build, it):
    for path in (build.root / "boot/loader/entries").iterdir():
        path.unlink()
    build.all()
    (version,) = it.kernels
    entry = build.root / f"boot/loader/entries/{grub_boot_entries.TOKEN}-{version}.conf"
    assert f"linux /boot/vmlinuz-{version}\n" in entry.read_text()
    assert judged(build.config()) == []
    assert not any(build.all())


@pytest.mark.parametrize("it", [trees.RHEL9], ids=lambda it: it.name)
def test_entries_that_would_not_boot_are_refused(build, it):
    build.grub()
    (build.root / f"boot/initramfs-{it.kernels[0]}.img").unlink()
    with pytest.raises(SealedRootError, match=r"/boot/initramfs-5.14.*img is not there"):
        build.entries()
    assert (build.root / f"boot/loader/entries/{trees.OLD_ID}-0-rescue.conf").exists()


@pytest.mark.parametrize("it", [trees.RHEL9], ids=lambda it: it.name)
def test_a_root_without_any_kernel_in_boot_is_refused(build):
    build.grub()
    for path in (build.root / "boot").glob("vmlinuz-*"):
        path.unlink()
    with pytest.raises(SealedRootError, match="no kernel in /boot"):
        build.entries()


@pytest.mark.parametrize("it", [trees.RHEL9], ids=lambda it: it.name)
def test_an_old_kernel_install_never_takes_the_command_line_of_grub(build):
    build.all()
    earlier = (build.root / "etc/default/grub").stat().st_mtime_ns - 10**9
    os.utime(build.root / "etc/kernel/cmdline", ns=(earlier, earlier))
    assert build.entries()["files"] == ["/etc/kernel/cmdline"]
    assert not build.entries()["changed"]


@pytest.mark.parametrize("it", [trees.RHEL9], ids=lambda it: it.name)
@pytest.mark.parametrize(
    ("value", "kept"), [("/boot/loader/entries", True), ("/root/boot/x", False)]
)
def test_an_old_subvolumes_directory_of_entries_is_forgotten(build, value, kept):
    env = build.root / "boot/grub2/grubenv"
    env.write_bytes(trees.grubenv(blsdir=value, next_entry="x"))
    build.all()
    assert grub_boot_entries.parse_env(env.read_bytes()) == ({"blsdir": value} if kept else {})


@each
def test_blocks_of_the_old_file_system_are_forgotten(build, it):
    """They are another file system's now, and GRUB would read variables from there."""
    env = build.root / f"boot/{it.grub}/grubenv"
    env.parent.mkdir(parents=True, exist_ok=True)
    env.unlink(missing_ok=True)
    env.write_bytes(trees.grubenv(env_block="512+1", saved_entry="0"))
    build.all()
    have = grub_boot_entries.parse_env(env.read_bytes())
    assert "env_block" not in have
    assert have["saved_entry"] == "0"
    assert not any(build.all())


@each
def test_firmware_with_a_grub_of_its_own_is_led_to_the_menu(build, it):
    build.all()
    path = build.root / "boot/grub/grub.cfg"
    if it.grub == "grub2":
        assert path.read_text().splitlines()[-1] == "source $prefix/grub.cfg"
        assert "set prefix=($root)/boot/grub2" in path.read_text()
    else:
        assert "linux" in path.read_text()


@pytest.mark.parametrize("it", [trees.FEDORA], ids=lambda it: it.name)
def test_a_link_between_grubs_directories_is_no_place_for_another_file(build):
    (build.root / "boot/grub").symlink_to("grub2")
    build.all()
    assert "blscfg" in (build.root / "boot/grub/grub.cfg").read_text()


@pytest.mark.parametrize(
    "it", [it for it in trees.ALL if it.family == "suse"], ids=lambda it: it.name
)
def test_suses_kernel_updates_renew_grub_cfg(build, it):
    build.all()
    text = (build.root / "etc/sysconfig/bootloader").read_text()
    assert "LOADER_TYPE=grub2-efi\n" in text
    assert 'SECURE_BOOT="yes"' in text
    # What update-bootloader then runs; the next kernel with its initrd is there (dracut).
    (build.root / "boot/vmlinuz-9-default").write_text("")
    (build.root / "boot/initrd-9-default").write_text("")
    build.tools.mkconfig(build.root / "boot/grub2/grub.cfg")
    assert judged(build.config()) == []
    assert "/boot/initrd-9-default" in build.config()


@each
def test_a_running_machine_finds_every_initramfs(build, it):
    build.all()
    if it.family == "suse":
        (build.root / f"boot/vmlinux-{it.kernels[0]}.gz").write_text("")
    if it.family == "arch":
        (build.root / "boot/initramfs-linux-fallback.img").write_text("")
    names = [os.path.basename(path) for path in running_root.initramfs(str(build.root / "boot"))]
    expected = {
        "redhat": [f"initramfs-{version}.img" for version in sorted(it.kernels)],
        "suse": [f"initrd-{version}" for version in it.kernels],
        "arch": ["initramfs-linux.img", "initramfs-linux-fallback.img"],
    }
    assert names == expected[it.family]
