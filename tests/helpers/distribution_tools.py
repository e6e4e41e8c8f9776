# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-ins for a distribution's tools: they record argv, and leave what the real ones are documented to leave."""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import typing as t

import shells
from ansible_collections.sealedroot.image.plugins.module_utils._etc import shell_defaults
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    MissingToolError,
    Result,
    Runner,
)
from distribution_trees import RELEASE, Distribution, grubenv


class Here(Runner):
    """The tools of this machine."""

    def find(self, *names: str) -> str:
        return names[0]

    def run(self, argv: t.Sequence[str], **how: t.Any) -> Result:
        done = subprocess.run(list(argv), capture_output=True, text=True, check=False)
        result = Result(done.returncode, done.stdout, done.stderr)
        if how.get("check", True) and result.rc:
            raise CommandError(argv, result)
        return result


class Tools(Runner):
    """The tools that are in a root."""

    def __init__(self, it: Distribution, root: pathlib.Path, root_uuid: str) -> None:
        self.it, self.root, self.root_uuid = it, root, root_uuid
        self.argv: list[list[str]] = []

    def find(self, *names: str) -> str:
        for name in names:
            if name == "sh":
                return name
            if (self.root / "usr/bin" / name).exists():
                return f"/usr/bin/{name}"
        raise MissingToolError(f"{' or '.join(names)} is not installed on this machine")

    def run(self, argv: t.Sequence[str], **how: t.Any) -> Result:
        if argv[0] == "sh":
            # The shell is this machine's, and no change of root shows it the file.
            own = f"{self.root}{RELEASE}".encode()
            return shells.run(argv, (how.get("stdin") or b"").replace(RELEASE.encode(), own))
        self.argv.append(list(argv))
        name = os.path.basename(argv[0]).replace("grub2-", "grub-")
        answers: dict[str, t.Callable[[list[str]], str]] = {
            "grub-probe": lambda _argv: f"{self.root_uuid}\n",
            "grub-mkimage": self.mkimage,
            "grub-mkconfig": lambda argv: self.mkconfig(pathlib.Path(argv[-1])),
            "grub-mkrelpath": lambda argv: f"{argv[-1]}\n",
        }
        return Result(0, answers[name](list(argv)), "")

    @staticmethod
    def mkimage(argv: list[str]) -> str:
        """Leave the script in the core image, which is all that is asked of it here."""
        script, core = (argv[argv.index(option) + 1] for option in ("--memdisk", "--output"))
        pathlib.Path(core).write_bytes(pathlib.Path(script).read_bytes())
        return ""

    def defaults(self) -> dict[str, str]:
        """The variables that a shell has after /etc/default/grub."""
        script = f". {self.root}/etc/default/grub; set"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        lines = (line.partition("=") for line in done.stdout.splitlines())
        return {
            name: shlex.split(value)[0] if value else ""
            for name, _equals, value in lines
            if name.startswith("GRUB_")
        }

    def words(self) -> str:
        """What /etc/default/grub gives to every kernel; the device is found by its UUID by default (10_linux)."""
        have = self.defaults()
        words = [have.get("GRUB_CMDLINE_LINUX", ""), have.get("GRUB_CMDLINE_LINUX_DEFAULT", "")]
        state = "rw" if self.it.family == "arch" else "ro"
        device = f"UUID={self.root_uuid}"
        if have.get("GRUB_DISABLE_LINUX_UUID") == "true":
            # What grub-probe finds is set before the file is read (grub-mkconfig).
            device = have.get("GRUB_DEVICE", "/dev/mapper/of-the-builder")
            if have.get("GRUB_DISABLE_LINUX_PARTUUID", "true") != "true":
                device = "PARTUUID="
        return " ".join([f"root={device}", state, *words])

    def scripts(self) -> str:
        """What the scripts of a person print, which are named between 00_header and 10_linux."""
        found = ""
        for path in sorted((self.root / "etc/grub.d").glob("0[1-9]_*")):
            done = subprocess.run([str(path)], capture_output=True, text=True, check=True)
            found += done.stdout
        return found

    def searches(self, variable: str) -> str:
        """How GRUB is told where a file system is (grub-mkconfig_lib: prepare_grub_to_access_device)."""
        search = f"search --no-floppy --fs-uuid --set={variable}"
        hint = "--hint-bios=hd0,gpt2 --hint-efi=hd0,gpt2"
        lines = ["insmod part_gpt", "insmod ext2"]
        # Since GRUB 2.04; the one of RHEL 8 is 2.02.
        if self.defaults().get("GRUB_DISABLE_UUID") != "true" or self.it.name == "rhel8":
            lines += [
                "if [ x$feature_platform_search_hint = xy ]; then",
                f"  {search} {hint} {self.root_uuid}",
                "else",
                f"  {search} {self.root_uuid}",
                "fi",
            ]
        return "".join(f"{line}\n" for line in lines)

    def mkconfig(self, path: pathlib.Path) -> str:
        """Write the menu: of entries, as 10_linux of Fedora and RHEL does, or of the kernels in /boot."""
        text = self.scripts()
        if self.it.family == "suse":
            # 00_header there, whatever the file system is (grub2-grubenv-in-btrfs-header.patch).
            text += (
                'if [ "${env_block}" ] ; then\n  set env_block="(${root})${env_block}"\n'
                '  export env_block\n  load_env -f "${env_block}"\nfi\n'
            )
        if self.it.entries:
            # Fedora and RHEL look for /boot and for the root.
            text += self.searches("root") + self.searches("boot")
            text += (
                f'if [ -z "${{kernelopts}}" ]; then\n  set kernelopts="{self.words()}"\nfi\n\n'
                "insmod blscfg\nblscfg\n"
            )
            if (
                self.it.name == "fedora"
            ):  # update_bls_cmdline, which RHEL 9.3 and 10 do only when asked to
                for entry in (self.root / "boot/loader/entries").glob("*.conf"):
                    lines = entry.read_text().splitlines()
                    lines = [
                        f"options {self.words()}" if it.startswith("options") else it
                        for it in lines
                    ]
                    entry.write_text("\n".join(lines) + "\n")
        else:
            for kernel in sorted((self.root / "boot").glob("vmlinuz-*")):
                version = kernel.name[len("vmlinuz-") :]
                forms = (f"initrd-{version}", f"initramfs-{version}.img")
                initrd = next(it for it in forms if (self.root / "boot" / it).exists())
                text += f"menuentry '{version}' $menuentry_id_option 'gnulinux-{version}' {{\n"
                text += self.searches("root")
                text += f"\tlinux\t/boot/{kernel.name} {self.words()}\n"
                text += f"\tinitrd\t/boot/{initrd}\n}}\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return ""


def first_boot(root: pathlib.Path) -> None:
    """What the identity stage and then systemd do to the machine ID."""
    (root / "etc/machine-id").write_text("fedcba9876543210fedcba9876543210\n")


def kernel_install_add(it: Distribution, root: pathlib.Path, version: str) -> str:
    """Add a kernel as kernel-install with 20-grub.install and 50-dracut.install does; return its entry's name."""
    token = (root / "etc/machine-id").read_text().strip()
    if it.name != "rhel8":  # systemd 239 has no /etc/machine-info (kernel-install(8))
        info = shell_defaults.values((root / "etc/machine-info").read_text())
        token = info.get("KERNEL_INSTALL_MACHINE_ID", token)
    (root / f"usr/lib/modules/{version}").mkdir(parents=True)
    (root / f"boot/vmlinuz-{version}").write_text(version)
    (root / f"boot/initramfs-{version}.img").write_text("")
    cmdline, defaults = root / "etc/kernel/cmdline", root / "etc/default/grub"
    assert cmdline.stat().st_mtime_ns >= defaults.stat().st_mtime_ns, "grub2-mkconfig would be run"
    options = "$kernelopts" if it.entries == "kernelopts" else cmdline.read_text().strip()
    entry = root / f"boot/loader/entries/{token}-{version}.conf"
    # /boot is a directory of the root, so grub2-mkrelpath says /boot/...
    entry.write_text(
        f"title {version}\nversion {version}\nlinux /boot/vmlinuz-{version}\n"
        f"initrd /boot/initramfs-{version}.img\noptions {options}\n"
        "grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class kernel\n"
    )
    kernel = shell_defaults.values((root / "etc/sysconfig/kernel").read_text())
    if kernel.get("UPDATEDEFAULT") == "yes":
        env = root / "boot/grub2/grubenv"
        lines = env.read_text().rstrip("#").splitlines()[1:]
        variables = dict(line.split("=", 1) for line in lines)
        env.write_bytes(grubenv(**{**variables, "saved_entry": entry.stem}))
    return entry.name
