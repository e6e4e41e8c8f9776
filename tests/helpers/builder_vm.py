# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The builder VM of extensions/molecule, for tests and benchmarks outside of molecule."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pathlib
import subprocess
import tarfile
import typing as t

import ansible
import yaml
from builds import ROOT, playbook

NAME = "builder-vm"
# The root of images that is in the VM; one that is quick to make an initramfs for.
ROOT_TAR = "/srv/root.tar"
MOLECULE = ROOT / "extensions" / "molecule"
INVENTORY = ROOT / ".cache" / "builder-vm" / "inventory.yml"
# Of ansible-core, what modules and the collection loader import.
CORE = (
    "__init__.py",
    "release.py",
    "_vendor",
    "config/ansible_builtin_runtime.yml",
    "module_utils",
    "utils",
)


@dataclasses.dataclass(frozen=True)
class BuilderVm:
    """A running VM."""

    inventory: pathlib.Path
    variables: dict[str, t.Any]
    root_tar: pathlib.Path

    def ssh(self, command: str) -> list[str]:
        """Return the command that runs *command* in the VM's shell."""
        known = self.inventory.with_name("known_hosts")
        return [
            *("ssh", "-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes"),
            *("-i", self.variables["ansible_private_key_file"], "-o", "IdentitiesOnly=yes"),
            *("-p", str(self.variables["ansible_port"]), "root@127.0.0.1", command),
        ]

    def run(
        self, command: str, *, timeout: int = 600, data: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line in the VM."""
        done = subprocess.run(
            self.ssh(command),
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace")
        if check and done.returncode:
            raise AssertionError(f"in the VM, '{command}' failed: {output[-4000:]}")
        return subprocess.CompletedProcess(done.args, done.returncode, output)

    def put(self, path: pathlib.Path, target: str) -> None:
        """Copy a file into the VM."""
        self.run(f"cat >'{target}'", data=path.read_bytes())

    def push_tree(self, target: str) -> None:
        """Copy this checkout's plugins and tests into the VM, and what they import of ansible-core."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in ("plugins", "tests", "meta", "galaxy.yml"):
                archive.add(ROOT / name, f"tree/{name}", filter=_no_bytecode)
            core = pathlib.Path(ansible.__file__).parent
            for name in CORE:
                archive.add(core / name, f"lib/ansible/{name}", filter=_no_bytecode)
        self.run(f"rm -rf {target} && mkdir {target} && tar -x -C {target}", data=packed.getvalue())


def _no_bytecode(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name or "/fixtures/" in member.name else member


def find() -> BuilderVm | None:
    """Return the VM that runs already."""
    if not INVENTORY.exists():
        return None
    inventory = yaml.safe_load(INVENTORY.read_text())
    variables = inventory["builders"]["hosts"][NAME]
    vm = BuilderVm(INVENTORY, variables, pathlib.Path(inventory["builders"]["vars"]["root_tar"]))
    try:
        alive = subprocess.run(vm.ssh("true"), capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    return vm if alive.returncode == 0 else None


@contextlib.contextmanager
def started() -> t.Iterator[BuilderVm]:
    """Yield the VM: the one that runs already, which goes on, or one that is ended afterwards."""
    vm = find()
    if vm:
        yield vm
        return
    run = playbook(str(MOLECULE / "create.yml"), {}, timeout=2400)
    try:
        vm = find()
        assert vm, run.output[-4000:]
        yield vm
    finally:
        run = playbook(str(MOLECULE / "destroy.yml"), {})
        assert run.rc == 0, run.output
