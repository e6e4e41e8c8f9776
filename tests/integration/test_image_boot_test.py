# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_boot_test with the real firmware and GRUB; what comes after GRUB is only written by GRUB."""

from __future__ import annotations

import hashlib
import pathlib
import typing as t

import processes
import pytest
import sealed_image
from sealed_image import BOOT_KEY, RECOVERY_KEY, Recipe

Module = t.Callable[..., "dict[str, t.Any]"]
# The shortest thing that looks like a boot on the console.
KERNEL = 'echo "Linux version 6"\nsleep 1\n'
LOGIN = 'echo "host login:"\nsleep 1000\n'
UNLOCK = 'echo "Please unlock disk cr_root: "\nsleep 1000\n'
AGAIN = 'echo "Enter passphrase for hd0,gpt2 (11111111222243338444555555555555): "\nsleep 3\n'


@pytest.fixture
def recipe(tmp_path: pathlib.Path) -> Recipe:
    return Recipe(tmp_path, grub_cfg=KERNEL + LOGIN)


def qemus(path: pathlib.Path) -> list[str]:
    lines = processes.command_lines().values()
    return [it for it in lines if "qemu-system" in it and str(path) in it]


@pytest.fixture
def boot(real_module: Module, tmp_path: pathlib.Path) -> Module:
    def run(path: pathlib.Path, **args: t.Any) -> dict[str, t.Any]:
        logs = tmp_path / "logs"
        logs.mkdir()
        before = hashlib.sha256(path.read_bytes()).hexdigest()
        args = {"accelerator": "tcg", "timeout": 120, **args}
        outcome = real_module("image_boot_test", path=str(path), log_dir=str(logs), **args)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == before
        assert qemus(path) == []
        for key in (BOOT_KEY, RECOVERY_KEY):
            assert key.decode() not in str(outcome)
            assert not any(key in log.read_bytes() for log in logs.iterdir())
        return outcome

    return run


def by_name(outcome: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {case["name"]: case for case in outcome["cases"]}


def test_right_and_wrong_keys(recipe: Recipe, boot: Module, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "disk,1.qcow2"  # a comma, which QEMU's options are separated by
    sealed_image.run("qemu-img", "convert", "-O", "qcow2", recipe.make(), path)
    keys = recipe.keys()
    outcome = boot(
        path,
        cases=[
            {"name": "wrong", "expect": "refused"},
            {"name": "boot", "key_file": keys["boot"]},
            {"name": "recovery", "key_file": keys["recovery"], "expect": "started"},
        ],
    )
    assert not outcome.get("failed"), outcome["msg"]
    assert outcome["accelerator"] == "tcg"
    cases = by_name(outcome)
    assert list(cases) == ["wrong", "boot", "recovery"]
    assert cases["boot"]["prompts"] == cases["recovery"]["prompts"] == 1
    assert cases["boot"]["second_prompts"] == 0
    assert set(cases["boot"]["seconds"]) == {"prompt", "login"}
    assert min(cases["boot"]["seconds"].values()) > 0
    assert "login" not in {**cases["wrong"]["seconds"], **cases["recovery"]["seconds"]}
    log = (tmp_path / "logs" / "boot.log").read_text()
    assert "Enter passphrase for" in log
    assert "host login:" in log


@pytest.mark.parametrize(
    "interface",
    ["sata", *(pytest.param(it, marks=pytest.mark.long) for it in ("nvme", "virtio-scsi"))],
)
def test_every_disk_interface(recipe: Recipe, boot: Module, interface: str) -> None:
    keys = recipe.keys()
    outcome = boot(
        recipe.make(), cases=[{"name": "boot", "key_file": keys["boot"]}], disk_interface=interface
    )
    assert not outcome.get("failed"), outcome["msg"]


# AAVMF has no driver for sata in Debian 12.
@pytest.mark.parametrize(
    "interface",
    ["virtio-blk", *(pytest.param(it, marks=pytest.mark.long) for it in ("nvme", "virtio-scsi"))],
)
def test_arm64(recipe: Recipe, boot: Module, interface: str, arm64_library: pathlib.Path) -> None:
    recipe.for_arm64(arm64_library)
    keys = recipe.keys()
    outcome = boot(
        recipe.make(),
        cases=[{"name": "boot", "key_file": keys["boot"]}],
        disk_interface=interface,
        architecture="aarch64",
        accelerator="auto",
        timeout=240,
    )
    assert not outcome.get("failed"), outcome["msg"]
    assert "AAVMF" in outcome["firmware"]
    assert by_name(outcome)["boot"]["prompts"] == 1


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (KERNEL + UNLOCK, "the initramfs asks for the passphrase again"),
        (AGAIN + KERNEL + LOGIN, "was asked for 2 times"),
        ('echo "Kernel panic - not syncing"\nsleep 1000\n', "cannot go on"),
        ("exit\n", "stopped or restarted|in time|shell"),
        (KERNEL + "sleep 1000\n", "in time"),
    ],
    ids=["second-prompt", "two-prompts", "panic", "exit", "hang"],
)
def test_a_boot_that_goes_wrong(recipe: Recipe, boot: Module, config: str, says: str) -> None:
    recipe.grub_cfg = config
    keys = recipe.keys()
    # Only the one that hangs takes all of it.
    timeout = 25 if says == "in time" else 120
    cases = [{"name": "boot", "key_file": keys["boot"]}]
    outcome = boot(recipe.make(), cases=cases, timeout=timeout)
    assert outcome["failed"]
    assert any(part in by_name(outcome)["boot"]["detail"] for part in says.split("|"))
    assert "boot:" in outcome["msg"]


def test_a_key_that_should_have_been_refused(recipe: Recipe, boot: Module) -> None:
    keys = recipe.keys()
    wrong = recipe.key("other", b"a key of another image")
    outcome = boot(
        recipe.make(),
        cases=[
            {"name": "refused", "expect": "refused", "key_file": keys["boot"]},
            {"name": "login", "key_file": wrong},
        ],
    )
    cases = by_name(outcome)
    assert "a wrong key was not refused" in cases["refused"]["detail"]
    assert "GRUB refused the key" in cases["login"]["detail"]


@pytest.mark.long
def test_a_disk_that_asks_for_nothing(boot: Module, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "empty.raw"
    path.write_bytes(bytes(1 << 20))
    outcome = boot(path, cases=[{"name": "wrong", "expect": "refused"}], timeout=15)
    assert "never asked" in outcome["msg"]


def test_secure_boot_refuses_what_nobody_signed(
    recipe: Recipe, boot: Module, tmp_path: pathlib.Path
) -> None:
    keys = recipe.keys()
    path = recipe.make()
    outcome = boot(
        path,
        cases=[
            {"name": "unsigned", "expect": "refused_by_firmware"},
            {"name": "boot", "key_file": keys["boot"]},
        ],
        secure_boot=True,
    )
    cases = by_name(outcome)
    assert cases["unsigned"]["verdict"] == "ok"
    assert "Access Denied" in (tmp_path / "logs" / "unsigned.log").read_text()
    assert outcome["failed"]
    assert cases["boot"]["detail"].startswith("the firmware or shim refused what is on the disk")
    assert "secboot" in outcome["firmware"]


def test_auto_takes_what_works(recipe: Recipe, boot: Module) -> None:
    keys = recipe.keys()
    outcome = boot(
        recipe.make(), cases=[{"name": "boot", "key_file": keys["boot"]}], accelerator="auto"
    )
    assert not outcome.get("failed"), outcome["msg"]
    assert outcome["accelerator"] in ("kvm", "tcg")
    assert outcome["accelerator_reason"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"path": "/nonexistent/disk.raw"}, "is not a file"),
        ({"cases": [{"name": "a/b", "expect": "refused"}]}, "without a slash"),
        ({"cases": [{"name": "boot"}]}, "needs a key_file"),
        ({"cases": [{"name": "boot", "key_file": "/nonexistent"}]}, "cannot be read"),
        ({"log_dir": "/nonexistent"}, "is not a directory"),
        ({"firmware": {"code": "/nonexistent", "variables": "/nonexistent"}}, "no UEFI firmware"),
    ],
)
def test_a_question_that_cannot_be_asked(
    real_module: Module, tmp_path: pathlib.Path, args: dict[str, t.Any], says: str
) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(1 << 20))
    cases = [{"name": "wrong", "expect": "refused"}]
    outcome = real_module("image_boot_test", **{"path": str(path), "cases": cases, **args})
    assert outcome["failed"]
    assert says in outcome["msg"]
