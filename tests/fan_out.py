# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Six images on two builders, this machine and the builder VM, one of them broken on purpose; see helpers/fan_out.py.

usage: ./run fanout

Ends with the line «fanout: 5 sealed, 1 refused, 0 keys left on builders», and with 1 when it is another.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "helpers"))

import builder_vm  # by the path that was just added
import fan_out

WANTED = "fanout: 5 sealed, 1 refused, 0 keys left on builders"


def main() -> int:
    """Build twice, look, and say how it went."""
    with (
        builder_vm.started() as vm,
        tempfile.TemporaryDirectory(prefix="sealedroot-fan-out-", dir="/var/tmp") as folder,
    ):
        fleet = fan_out.Fleet(
            pathlib.Path(folder),
            there=vm.variables,
            tars={fan_out.HERE: str(vm.root_tar), fan_out.THERE: builder_vm.ROOT_TAR},
            at_once={fan_out.HERE: 2, fan_out.THERE: 1},
        )
        line = play(fleet, vm)
    print(line)
    return 0 if line == WANTED else 1


def run_on(vm: builder_vm.BuilderVm, builder: str, line: str, data: bytes) -> str:
    """Run a line of shell on a builder, this machine or the VM."""
    if builder == fan_out.THERE:
        return vm.run(line, data=data).stdout
    done = subprocess.run(["sh", "-c", line], input=data, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def play(fleet: fan_out.Fleet, vm: builder_vm.BuilderVm) -> str:
    """Both runs; returns the line that says how it went."""
    began = time.monotonic()
    first = fleet.build(broken=True, timeout=5400)
    print(f"first run: exit status {first.rc}, {time.monotonic() - began:.0f} s")
    for name in fleet.images:
        numbers = first.recap(name)
        built = fleet.manifest(name).get("builder", {})
        how = "refused" if numbers.get("failed") else f"sealed, {built.get('backend')}"
        print(f"  {name}: {how} {numbers}")
    for builder in (fan_out.HERE, fan_out.THERE):
        print(f"  most builds at once on '{builder}': {fleet.at_once(builder)}")
    left = fleet.keys_left(lambda *words: run_on(vm, *words))
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
