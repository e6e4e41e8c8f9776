# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Six images on two builders, this machine and the builder VM, one of them broken on purpose; see helpers/fan_out.py.

usage: ./run fanout

Ends with the line «fanout: 5 sealed, 1 refused, 0 keys left on builders», and with 1 when it is another.
"""

from __future__ import annotations

import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import fan_out  # noqa: E402  # by the path that was just added

VM = ROOT / ".cache" / "builder-vm" / "inventory.yml"
WANTED = "fanout: 5 sealed, 1 refused, 0 keys left on builders"


def ansible_playbook(name: str) -> None:
    """Run a playbook of the tests."""
    subprocess.run(["ansible-playbook", str(ROOT / "extensions" / "molecule" / name)], check=True)


def run_on(builders: dict[str, dict[str, object]], builder: str, line: str, data: bytes) -> str:
    """Run a line of shell on a builder, this machine or the VM."""
    argv = ["sh", "-c", line]
    if builder == fan_out.THERE:
        vm = builders[builder]
        options = shlex.split(str(vm["ansible_ssh_common_args"]))
        argv = ["ssh", *options, "-i", str(vm["ansible_private_key_file"])]
        argv += ["-p", str(vm["ansible_port"]), f"{vm['ansible_user']}@{vm['ansible_host']}", line]
    done = subprocess.run(argv, input=data, stdout=subprocess.PIPE, check=True, timeout=600)
    return done.stdout.decode()


def main() -> int:
    """Build twice, look, and say how it went."""
    ansible_playbook("create.yml")
    try:
        (there,) = yaml.safe_load(VM.read_text())["builders"]["hosts"].values()
        # The VM is slow, so its images are made from a root whose initramfs is quick to make; here as well.
        tars = {fan_out.THERE: "/srv/root.tar", fan_out.HERE: str(root_tar())}
        with tempfile.TemporaryDirectory(prefix="sealedroot-fan-out-", dir="/var/tmp") as folder:
            at_once = {fan_out.HERE: 2, fan_out.THERE: 1}
            fleet = fan_out.Fleet(pathlib.Path(folder), there=there, tars=tars, at_once=at_once)
            line = play(fleet)
    finally:
        ansible_playbook("destroy.yml")
    print(line)
    return 0 if line == WANTED else 1


def root_tar() -> pathlib.Path:
    """The root of the images, beside the newest disk of the VM."""
    found = sorted(
        pathlib.Path("/var/cache/sealedroot").glob("builder-vm-*/root.tar"),
        key=lambda path: path.stat().st_mtime,
    )
    return found[-1]


def play(fleet: fan_out.Fleet) -> str:
    """Both runs; returns the line that says how it went."""
    began = time.monotonic()
    first = fleet.build(broken=True, timeout=5400)
    print(f"first run: exit status {first.rc}, {time.monotonic() - began:.0f} s")
    for name in fleet.images:
        numbers = first.recap(name)
        print(f"  {name}: {'refused' if numbers.get('failed') else 'sealed'} {numbers}")
    for builder in (fan_out.HERE, fan_out.THERE):
        print(f"  most builds at once on '{builder}': {fleet.at_once(builder)}")
    left = fleet.keys_left(lambda *words: run_on(fleet.builders, *words))
    line = fan_out.summary(fleet, first, left)
    print(*left, sep="\n", end="\n" if left else "")
    began = time.monotonic()
    second = fleet.build(f"--limit=@{fleet.retry}", broken=False, timeout=5400)
    built = [name for name in fleet.images if second.recap(name).get("changed")]
    print(f"second run, --limit @retry: built {built}, {time.monotonic() - began:.0f} s")
    if second.rc or built != [fan_out.BROKEN] or fleet.sealed() != fleet.images:
        print(second.output)
        return "fanout: the second run did not build just the one that was missing"
    return line


if __name__ == "__main__":
    sys.exit(main())
