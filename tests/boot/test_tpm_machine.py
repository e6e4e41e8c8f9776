# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A running machine is enrolled over ssh, proved by a restart, and gets another key: nobody types one again."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import time
import typing as t

import pytest
import tpm_machines
from builds import Place, fresh_place
from guests import Guest, Shell, free_port, overlay

PLAYBOOK = "sealedroot.image.{}"
# A restart, of which systemd says nothing where the console is quiet, ends QEMU.
RESTART_SECONDS = 900


class Machine:
    """A machine with a TPM, which is switched on again when it restarts."""

    def __init__(self, place: Place) -> None:
        self.path = place.path
        key = place.path / "id"
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(argv, check=True)
        public = key.with_suffix(".pub").read_text().strip()
        packages = ["openssh-server", "python3"]
        image = tpm_machines.build(place, packages=packages, image_authorized_keys=[public])
        self.directory = image.directory
        self.tpm = tpm_machines.Tpm(place.path / "tpm")
        disk = overlay(image.directory / "disk.qcow2", place.path / "disk.qcow2")
        self.guest = Guest(disk, memory=1024, port=free_port(), more=self.tpm.options())
        self.shell = Shell(self.guest, key)

    def boot_unasked(self) -> None:
        self.tpm.options()
        self.guest.restart()
        found = self.guest.console.expect([r"login: ", tpm_machines.PROMPT], timeout=600)
        assert found == 0, "GRUB asks for the key"

    def play(self, name: str, *words: str, restarts: bool = False) -> str:
        """Run a playbook, and switch the machine on again if it restarts; return what was said."""
        inventory = self.path / "machines.yml"
        inventory.write_text(json.dumps({"machines": {"hosts": {"web-1": self.shell.variables}}}))
        log = self.path / f"{name}.log"
        variables = json.dumps({"image_output_dir": str(self.directory.parent)})
        argv = ["ansible-playbook", PLAYBOOK.format(name), "-i", str(inventory), "-vvv", "--diff"]
        with log.open("w") as file:
            process = subprocess.Popen(
                [*argv, "--extra-vars", variables, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
            )
        try:
            if restarts:
                self._switch_on_again(process)
            rc = process.wait(2400)
        finally:
            process.kill()
            process.wait(60)
        said = log.read_text()
        assert rc == 0, said[-6000:]
        return said

    def _switch_on_again(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + RESTART_SECONDS
        while self.guest.console.isalive():
            assert process.poll() is None, "the playbook ended before the restart"
            assert time.monotonic() < deadline, "the machine does not restart"
            with contextlib.suppress(tpm_machines.pexpect.ExceptionPexpect):
                self.guest.console.expect(tpm_machines.pexpect.TIMEOUT, timeout=1)
        self.guest.end()
        self.boot_unasked()

    def end(self) -> None:
        self.guest.end()
        self.tpm.end()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Machine]:
    with fresh_place(tmp_path_factory) as place:
        machine = Machine(place)
        try:
            yield machine
        finally:
            machine.end()


def key_of(machine: Machine) -> str:
    return pathlib.Path(machine.directory, "boot.key").read_text()


@pytest.mark.long
def test_a_life_without_a_prompt(machine: Machine) -> None:
    old = key_of(machine)
    machine.guest.boot(old)
    machine.shell.wait()
    said = machine.play("enroll_tpm", "--check")
    assert "changed=1" in said
    assert "web-1: The TPM says that IBM made it (SW TPM). That is what swtpm says" in said
    assert machine.shell.ask("test -e /var/lib/sealedroot-tpm").returncode == 1

    # The playbook itself waits until the machine is back, and sees that the key is sealed for what was started.
    said = machine.play("enroll_tpm", "-e", "enroll_tpm_reboot=true", restarts=True)
    assert old not in said
    assert "changed=0" in machine.play("enroll_tpm")

    said = machine.play("rotate_keys")
    new = key_of(machine)
    assert new != old
    assert old not in said
    assert new not in said
    machine.shell.ask("systemctl poweroff")
    machine.guest.console.expect(tpm_machines.pexpect.EOF, timeout=300)
    machine.guest.end()
    machine.boot_unasked()
    machine.shell.wait()
    # The TPM has the new key alone: the old one is dead.
    dump = machine.shell.run("cryptsetup luksDump $(blkid -t TYPE=crypto_LUKS -o device)")
    assert dump.count("ENABLED") == 2
    assert "changed=0" in machine.play("enroll_tpm")
