# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A builder with a stock kernel, which is the VM: dm-crypt, udev, and the image that is built here, too.

In one file, for it is one VM: what is in one file is not run side by side.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import typing as t

import builder_vm
import image_compare
import pytest
import yaml
from builds import PLAYBOOK, Place, Run, playbook

DECLARED = yaml.safe_load(pathlib.Path(__file__).with_name("declared_differences.yml").read_text())
TREE = "/root/guest"
AREAS = ("tree", "initramfs", "superblock", "esp", "manifest")


class Pair(t.NamedTuple):
    """The same image, built in two ways."""

    here: pathlib.Path
    in_vm: pathlib.Path
    runs: tuple[Run, Run]


def has_device_mapper() -> bool:
    """Ask the tool of device-mapper itself."""
    done = subprocess.run(["dmsetup", "version"], check=False, capture_output=True)
    return done.returncode == 0


@pytest.fixture(scope="module")
def pair(vm: builder_vm.BuilderVm, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Pair]:
    place, remote = (Place(tmp_path_factory.mktemp(name)) for name in ("here", "remote"))
    inventory = place.path / "images.yml"
    inventory.write_text(json.dumps({"images": {"hosts": {"web-1": {}}}}))
    # auto, but where this machine could do better than what is to be compared.
    backend = "userspace" if has_device_mapper() else "auto"
    here = playbook(
        PLAYBOOK,
        place.variables(
            image_source={"type": "tar", "path": str(vm.root_tar)}, image_backend=backend
        ),
        *("--inventory", str(inventory)),
        timeout=1800,
    )
    assert here.rc == 0, here.output[-6000:]
    in_vm = playbook(
        PLAYBOOK,
        {
            **remote.variables(
                image_source={"type": "tar", "path": builder_vm.ROOT_TAR},
                image_builder=builder_vm.NAME,
            ),
            "image_work_dir": "/var/tmp/sealedroot",
        },
        *("--inventory", str(inventory), "--inventory", str(vm.inventory)),
        timeout=3000,
    )
    assert in_vm.rc == 0, in_vm.output[-6000:]
    yield Pair(place.out / "web-1", remote.out / "web-1", (here, in_vm))
    for it in (place, remote):
        it.leaves_nothing()
        shutil.rmtree(it.path)


def manifest(directory: pathlib.Path) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads((directory / "manifest.json").read_text())
    return found


def test_auto_takes_what_each_machine_can_and_says_why(pair: Pair) -> None:
    builder = manifest(pair.in_vm)["builder"]
    assert (builder["backend"], builder["backend_reason"]) == ("dm_crypt", "dm_crypt works here")
    builder = manifest(pair.here)["builder"]
    assert builder["backend"] == "userspace"
    if not has_device_mapper():
        assert builder["backend_reason"].startswith(
            "dm_crypt does not work here: the kernel has no device-mapper"
        )
    assert builder["backend_reason"].endswith("userspace works here")


def test_the_images_differ_only_in_what_is_declared(pair: Pair) -> None:
    here, in_vm = image_compare.read(pair.here), image_compare.read(pair.in_vm)
    assert len(here.tree) > 5000
    assert len(here.initramfs) > 100
    assert in_vm.partitions == here.partitions
    assert in_vm.header == here.header
    assert [line for line in here.header if "ENABLED" in line] == [
        "Key Slot 0: ENABLED",
        "Key Slot 1: ENABLED",
    ]
    used: set[str] = set()
    found = {}
    for area in AREAS:
        one, two = (image_compare.flat(getattr(facts, area)) for facts in (here, in_vm))
        declared = [*DECLARED[area], *DECLARED["elsewhere"]]
        found[area] = image_compare.differences(one, two, declared, used)
    assert found == {area: {} for area in AREAS}
    # The list must not rot.
    assert image_compare.unused((it for area in AREAS for it in DECLARED[area]), used) == []


def test_nothing_is_left_in_the_vm(pair: Pair, vm: builder_vm.BuilderVm) -> None:
    assert pair.in_vm.exists()
    left = "losetup --list --noheadings; dmsetup ls; findmnt -rno TARGET | grep sealedroot || :"
    assert vm.run(left).stdout.strip() in ("", "No devices found")
    # With the lease goes the directory that was made for it.
    assert vm.run("find /var/tmp -path '*sealedroot*'").stdout == ""
    for name in ("boot.key", "recovery.key"):
        key = (pair.in_vm / name).read_text()
        # On standard input, or grep would find itself.
        search = "grep -rlF --exclude-dir=proc --exclude-dir=sys -f /dev/stdin /root /srv /tmp /var /run /dev/shm"
        assert vm.run(f"{search} || :", data=key.encode()).stdout == ""


@pytest.mark.long
def test_the_image_of_the_vm_boots_here(pair: Pair) -> None:
    run = playbook(
        "sealedroot.image.verify_image",
        {
            "audit_image": str(pair.in_vm / "disk.qcow2"),
            "audit_keys": {name: str(pair.in_vm / f"{name}.key") for name in ("boot", "recovery")},
        },
        "-v",
        timeout=1800,
    )
    assert run.rc == 0, run.output[-6000:]
    assert run.said("GRUB refused the wrong key and started nothing")
    assert run.output.count("asked once and reached the login prompt") >= 2


@pytest.fixture(scope="module")
def guest(vm: builder_vm.BuilderVm) -> builder_vm.BuilderVm:
    vm.push_tree(TREE)
    return vm


@pytest.mark.parametrize(
    "file", ["guest/test_dm_crypt.py", "integration/test_loop_devices.py"], ids=["dm_crypt", "loop"]
)
def test_modules_on_a_stock_kernel(guest: builder_vm.BuilderVm, file: str) -> None:
    """Run tests in the VM itself: tests/guest, and integration tests, a process for each file."""
    run = guest.run(
        f"cd {TREE}/tree && PYTHONPATH={TREE}/lib SEALEDROOT_TEST_ROUNDS=5 timeout 900"
        f" python3 -B -m pytest -q -p no:cacheprovider -rA --durations=0 tests/{file} 2>&1",
        timeout=960,
        check=False,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-12000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
