# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A booted image: its serial console, and ssh to it."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import typing as t

import pexpect

FIRMWARE = pathlib.Path("/usr/share/OVMF")
# As in image_boot_test; _system/architectures.py has the reasons.
CPU = "Nehalem,vendor=AuthenticAMD"
CMDLINE = " ".join(
    (
        "console=tty0 console=ttyS0,115200",
        # Emulated on a busy machine, udev needs longer than the 90 seconds that systemd waits for a console.
        "systemd.default_device_timeout_sec=900",
        # QEMU translates code again for each address that it is mapped at: an update-initramfs takes half of the time.
        "norandmaps",
    )
)
PROMPT = "Enter passphrase for"
# Any other way to be asked, by the initramfs or by systemd.
SECOND = r"Please enter passphrase|Please unlock|Enter passphrase for.*luks-"
MENU = r"executed automatically in [1-9]"
# What a user network of QEMU gives to its only guest.
ADDRESS = "10.0.2.15/24"
# What a root needs for it, files and links: a network that is quickly there.
NETWORK = {
    "etc/systemd/network/80-test.network": f"[Match]\nName=en*\n[Network]\nAddress={ADDRESS}\n"
}
NETWORKD = {
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": (
        "/lib/systemd/system/systemd-networkd.service"
    )
}


def hashed(password: str) -> str:
    """Return what /etc/shadow has of a password."""
    command = ["openssl", "passwd", "-6", "-stdin"]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def overlay(base: pathlib.Path, path: pathlib.Path, size: int | None = None) -> pathlib.Path:
    """Make a disk that begins as *base*, which stays as it is, and has *size* bytes or those of *base*."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(path)]
    subprocess.run([*command, *([str(size)] if size else [])], check=True)
    return path


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Guest:
    """A virtual machine with one disk, and drives that it may only read.

    *attached* are QEMU's arguments for the disk, if it is not a qcow2 file on virtio; *more* are added to all others.
    *variables* is the store of EFI variables to begin with, and *control* the path of a socket for QMP. *launched* are
    the arguments for another firmware, and for what it starts.

    A second processor is for who has one to spare: two machines of two on two real ones take twice the time of two
    of one for what starts many programs.
    """

    def __init__(
        self,
        disk: pathlib.Path,
        *,
        cpus: int = 1,
        memory: int = 1536,
        port: int = 0,
        drives: t.Sequence[pathlib.Path] = (),
        secure_boot: bool = False,
        attached: t.Sequence[str] = (),
        more: t.Sequence[str] = (),
        variables: pathlib.Path | None = None,
        control: pathlib.Path | None = None,
        launched: t.Sequence[str] = (),
    ) -> None:
        self.disk, self.port = disk, port
        store = disk.with_name(f"{disk.name}.vars")
        empty = FIRMWARE / f"OVMF_VARS_4M{'.ms' if secure_boot else ''}.fd"
        shutil.copy(variables or empty, store)
        code = FIRMWARE / f"OVMF_CODE_4M{'.secboot' if secure_boot else ''}.fd"
        # restrict: the guest reaches nothing; only the way to its ssh is open.
        way = f"hostfwd=tcp:127.0.0.1:{port}-:22"
        network = f"user,model=virtio-net-pci,restrict=on,{way}" if port else "none"
        # As in image_boot_test: firmware with SMM and several processors hangs on a busy host.
        cpus = 1 if secure_boot else cpus
        self.arguments = [
            *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU),
            *("-smp", str(cpus), "-m", str(memory), "-display", "none", "-serial", "stdio"),
            # A reset ends QEMU: see reset().
            *("-no-reboot", "-monitor", "none", "-nic", network),
            *(launched or ("-drive", f"if=pflash,format=raw,readonly=on,file={code}")),
            *(() if launched else ("-drive", f"if=pflash,format=raw,file={store}")),
            *(attached or ("-drive", f"file={disk},format=qcow2,if=virtio")),
            *(("-qmp", f"unix:{control},server=on,wait=off") if control else ()),
            *more,
        ]
        if secure_boot:
            self.arguments += ["-machine", "smm=on"]
            self.arguments += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        for drive in drives:
            self.arguments += ["-drive", f"file={drive},format=raw,if=virtio,readonly=on"]
        self.log = io.StringIO()
        self.console = self._start()

    def _start(self) -> pexpect.spawn[str]:
        console = pexpect.spawn(
            "qemu-system-x86_64",
            self.arguments,
            encoding="utf-8",
            codec_errors="replace",
            echo=False,
        )
        console.logfile_read = self.log
        # What a failure shows of it.
        console.str_last_chars = 3000
        return console

    def boot(self, key: str) -> tuple[float, float]:
        """From the firmware to the login prompt, with exactly one question.

        Returns the seconds from now to the question and to the login prompt.
        """
        began = time.monotonic()
        self.console.expect(PROMPT, timeout=300)
        asked = time.monotonic() - began
        self.console.expect(": ", timeout=30)
        self.console.send(f"{key}\r")
        which = self.console.expect([r"login: ", PROMPT, SECOND, MENU], timeout=600)
        if which == 3:
            # Its countdown would be no proof of anything here: image_boot_test touches no key.
            self.console.send("\r")
            which = self.console.expect([r"login: ", PROMPT, SECOND], timeout=600)
        assert which == 0, "the image asked a second time"
        return asked, time.monotonic() - began

    def log_in(self, password: str) -> None:
        """From the login prompt to a root shell."""
        self.console.send("root\r")
        self.console.expect("Password: ", timeout=60)
        self.console.send(f"{password}\r")
        self.console.expect(r"# ", timeout=60)

    def ask(self, command: str, timeout: int = 60) -> tuple[int, str]:
        """Run a command as root; return its exit status and what the console showed."""
        self.console.send(f"{command}; echo STATUS=$?=\r")
        self.console.expect(r"STATUS=(\d+)=", timeout=timeout)
        assert isinstance(self.console.match, re.Match)
        return int(self.console.match.group(1)), self.console.before or ""

    def run(self, command: str, timeout: int = 60) -> str:
        """Run a command as root; a non-zero exit status is a failure."""
        status, output = self.ask(command, timeout)
        assert status == 0, f"{command}: {output[-3000:]}"
        return output

    def reset(self) -> None:
        """Wait until the guest, which was told to reboot, resets its machine, and switch on again.

        In the same QEMU the firmware would overwrite what a system ran in before, and QEMU 7.2 looks for each page's
        translated code in long lists: 5 s become 77 s after one update-initramfs, and minutes after a few.
        """
        self.console.expect("reboot: Restarting system", timeout=300)
        self.console.expect(pexpect.EOF, timeout=60)
        self.end()
        self.restart()

    def kill(self) -> None:
        """Pull the plug."""
        assert self.console.pid
        os.kill(self.console.pid, signal.SIGKILL)
        self.end()

    def restart(self) -> None:
        """Switch on again."""
        self.console = self._start()

    def end(self) -> None:
        """Stop the machine, if it runs, and see that it is gone."""
        # It has a machine's memory to give back, and pexpect gives it a tenth of a second.
        with contextlib.suppress(pexpect.ExceptionPexpect):
            self.console.close(force=True)
        deadline = time.monotonic() + 60
        while self.console.isalive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not self.console.isalive(), "QEMU did not end"


class Shell:
    """A guest's ssh, with a key of the test's own."""

    def __init__(self, guest: Guest, key: pathlib.Path) -> None:
        self.guest, self.key = guest, key
        # Host keys are made at the first boot.
        nowhere = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        self.options = f"-F none -o ConnectTimeout=30 {nowhere}"

    @property
    def variables(self) -> dict[str, t.Any]:
        """What an inventory says of the guest."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.guest.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": self.options,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_timeout": 60,
        }

    def ask(self, command: str, timeout: int = 120) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        argv = ["ssh", "-i", str(self.key), *self.options.split(), "-p", str(self.guest.port)]
        return subprocess.run(
            [*argv, "root@127.0.0.1", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def run(self, command: str, timeout: int = 120) -> str:
        """Run a command that must succeed."""
        done = self.ask(command, timeout)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def wait(self, seconds: float = 300) -> None:
        """Wait until the guest answers."""
        deadline = time.monotonic() + seconds
        while self.ask("true").returncode:
            assert time.monotonic() < deadline, "the guest does not answer to ssh"
            time.sleep(1)
