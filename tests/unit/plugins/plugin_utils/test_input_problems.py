# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the inputs of a build: one row for each report from the field."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.filter.plans import FilterModule
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs
from ansible_collections.sealedroot.image.plugins.plugin_utils._input_problems import (
    CHECKS,
    CONNECTION,
    INTERPRETER,
    Around,
    is_set,
    problems,
    rotation_problems,
)

GIVEN: dict[str, t.Any] = {
    "image_authorized_keys": [],
    "image_boot_key": "",
    "image_boot_test": True,
    "image_builder": "localhost",
    "image_builds_at_once": 0,
    "image_command_timeout": 3600,
    "image_architecture": "x86_64",
    "image_debug_console": False,
    "image_filesystem": "ext4",
    "image_firmware": "",
    "image_formats": ["qcow2"],
    "image_hostname": "web-1",
    "image_kernel_cmdline": "console=ttyS0",
    "image_measurements": {},
    "image_name": "web-1",
    "image_recovery_passphrase": "",
    "image_root_password_hash": "",
    "image_secure_boot": False,
    "image_size": "4GiB",
    "image_source": {"type": "tar", "path": "/root.tar"},
    "image_source_date_epoch": 0,
    "image_unlock": ["prompt"],
    "image_uuid": "",
    "__image_luks": {"type": "luks1"},
    "__image_measurements": {"types": ["sev"], "vcpus": [1], "vcpu_type": "EPYC-v4"},
    "__image_packages": [],
    "__image_publish_tasks": "",
    "__image_selinux": "auto",
}
AROUND = Around(
    options=_inputs.options(),
    misspelled="",
    replaced=(),
    names=("image_name", "image_root"),
    of_tasks=_inputs.of_tasks(),
    interpreter=INTERPRETER,
    connection=CONNECTION,
    hosts=("web-1", "builder-1"),
    steps=[{"problem": "", "digest": "0"}],
    now=1_700_000_000.0,
)
PASSPHRASE = "correct horse battery staple 42"
KEY = "correct-horse-battery-staple-42-with-some-more"
BASE64_KEY = "c3VwZXItc2VjcmV0LWFuZC1yYW5kb20tMzMtYnl0ZXMh"
SEALED: dict[str, t.Any] = {"image_unlock": ["prompt", "tpm2"]}
LAUNCHED: dict[str, t.Any] = {"image_unlock": ["launch_secret"], "image_firmware": "/srv/OVMF.fd"}
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ada"
# 'openssl passwd -6'.
HASH = (
    "$6$saltsalt$8RWsOfwR6M6PpnoeQiEiWzNTPo1f0HjVYjDnLZhGx16"
    "aBFRkeqiHAzfXP/LgrOWMBMXqiU2pLrXsSOHNUyUm91"
)


def source(**it: str) -> dict[str, t.Any]:
    return {"image_source": it}


GOOD: list[dict[str, t.Any]] = [
    {},
    {"image_builder": "builder-1"},
    {"image_command_timeout": "1"},
    {"image_name": "a" * 63},
    *({"image_size": it} for it in ("4G", "4 GB", "4.5GiB", "4294967296", 4294967296)),
    {"image_size": "401MiB", "image_filesystem": "xfs"},
    source(type="directory", path="/srv/root"),
    source(type="disk", path="/srv/disk.qcow2"),
    source(type="oci", path="/srv/image"),
    source(type="url", url="https://example.org/root.tar", checksum="sha256:0"),
    source(type="url", url="file:///srv/root.tar", signature="/s", keyring="/k"),
    source(type="bootstrap", distribution="debian", release="bookworm"),
    {"__image_selinux": "relabel_at_boot", "image_boot_test": "false"},
    {"image_recovery_passphrase": PASSPHRASE},
    {"image_recovery_passphrase": PASSPHRASE, "image_boot_key": KEY},
    {"image_root_password_hash": HASH},
    {"image_authorized_keys": [SSH_KEY, f"{SSH_KEY}\n"]},
    *(source(type="bootstrap", distribution="debian", release=it) for it in ("sid", "jammy")),
    {"image_formats": ["qcow2", "vhd"]},
    LAUNCHED,
    {**LAUNCHED, "image_unlock": ["launch_secret", "prompt"], "image_boot_key": BASE64_KEY},
    SEALED,
    {**SEALED, "__image_selinux": "relabel_at_boot", "image_boot_test": False},
    {"__image_luks": {"type": "luks2"}},
    {**LAUNCHED, "image_measurements": {"types": ["snp"]}},
    {"__image_publish_tasks": __file__},
    *({"image_source_date_epoch": it} for it in (315532800, "1700000000 ", 1700000000.0)),
    *({"image_boot_test": it} for it in (True, "no", "False", "1", 0)),
    *({"image_grow": it} for it in ("auto", "true", True)),
    *({"image_selinux": it} for it in ("off", False)),
    *({"image_packages": it} for it in ("auto", ["auto"])),
    {"image_uuid": "6F1B2A34-0000-4000-8000-00000000000a"},
    {"image_kernel_cmdline": "quiet systemd.debug_shell=1", "image_debug_console": "true"},
    {"__image_packages": ["auto", "linux-image-cloud-amd64", "libstdc++6", "gcc:i386"]},
]


@pytest.mark.parametrize("change", GOOD)
def test_inputs_that_are_good(change: dict[str, t.Any]) -> None:
    assert problems({**GIVEN, **change}, AROUND) == []


NO_SOURCE = "is not a source: give {type: tar, path: /absolute/root.tar}"
BAD: list[tuple[dict[str, t.Any], str]] = [
    *(
        ({"image_command_timeout": it}, f"image_command_timeout '{it}' is no number of seconds")
        for it in (0, -1, 10**9)
    ),
    *(
        ({"image_name": it}, f"image_name '{it}' cannot name a file and a host")
        for it in ("../web", "a/b", ".hidden", "UPPER", "", "a" * 64, "web\n")
    ),
    ({"image_builds_at_once": -3}, "image_builds_at_once is -3: write how many builds"),
    *(
        ({"image_hostname": it}, f"image_hostname '{it}' is not a host name")
        for it in ("web_1", "", "-a", "a..b", "a.-b")
    ),
    ({"image_builder": "builder-9"}, "image_builder 'builder-9' is not in the inventory: add it"),
    *(
        ({"image_size": it}, f"image_size '{it}' is not a size: write a number with a unit")
        for it in ("big", "-4GiB", "4 elephants", "4Gi", "0", "4GiB\n", "")
    ),
    (
        {"image_size": "400MiB", "image_filesystem": "xfs"},
        "image_size 400MiB is too small for xfs: set it to at least 401MiB, or take another",
    ),
    (source(type="tar", path="root.tar"), f"{{'type': 'tar', 'path': 'root.tar'}} {NO_SOURCE}"),
    (source(type="directory"), NO_SOURCE),
    (source(type="url", url="ftp://example.org/x", checksum="sha256:0"), NO_SOURCE),
    (source(type="bootstrap", distribution="debian"), NO_SOURCE),
    (source(type="bootstrap", distribution="debian", release="12; rm"), NO_SOURCE),
    *(
        (
            source(type="bootstrap", distribution="debian", release=it),
            f"image_source.release '{it}' is no release of Debian: write {right}.",
        )
        for it, right in (("bokworm", "bookworm"), ("trixi", "trixie"), ("instable", "unstable"))
    ),
    *(
        ({"image_authorized_keys": [SSH_KEY, it]}, "has no whole SSH public key as entry 2: give")
        for it in ("ssh-ed25519 AAAA... me", SSH_KEY[:40], "hunter2", f"{SSH_KEY}\n{SSH_KEY}")
    ),
    (source(type="url", url="https://example.org/x"), "nothing says what must be behind it"),
    (
        source(type="url", url="https://example.org/x", signature="https://example.org/s"),
        "nothing says what must be behind it: give checksum, or signature and keyring.",
    ),
    (
        {"__image_selinux": "relabel_at_boot", "image_boot_test": "yes"},
        "the boot test takes that for a defect. Set image_boot_test to false",
    ),
    *(
        ({"image_recovery_passphrase": it}, "is too weak or cannot be typed at GRUB: use 20 to 254")
        for it in (
            *("short", "a" * 40, "with a newline\n in the middle of it", PASSPHRASE + "\n"),
            *("ein gutes Paßwort, aber kein ASCII", PASSPHRASE * 9),
        )
    ),
    *(
        ({"image_root_password_hash": it}, "is no hash of crypt(5): take what 'openssl passwd -6'")
        for it in ("secret", "$6$salt$short", HASH[:-1], f"{HASH}\n", f"{HASH}:")
    ),
    ({"image_unlock": []}, "image_unlock [] names no way: name each that you want once, such as"),
    ({"image_unlock": ["prompt", "prompt"]}, "[prompt, prompt] names a way twice: name each that"),
    (
        {**LAUNCHED, "image_architecture": "aarch64"},
        "launch_secret, which only machines of x86_64 have, and the image is to be aarch64",
    ),
    (
        {**LAUNCHED, "image_secure_boot": "true"},
        "image_unlock has launch_secret, but under Secure Boot GRUB reads no memory, so it would",
    ),
    (
        {**LAUNCHED, "image_debug_console": True},
        "launch_secret, but image_debug_console gives the host's console a shell that reads the key",
    ),
    (
        {"image_unlock": ["tpm2"]},
        "image_unlock has tpm2 without prompt, but the key can only be sealed on the running machine",
    ),
    (
        {**LAUNCHED, "image_unlock": ["launch_secret", "prompt", "tpm2"]},
        "image_unlock has launch_secret and tpm2, but the first starts no GRUB from the disk",
    ),
    (
        {**SEALED, "image_architecture": "aarch64"},
        "image_unlock has tpm2, which only machines of x86_64 have, and the image is to be aarch64",
    ),
    (
        {**SEALED, "image_secure_boot": "true"},
        "image_unlock has tpm2, but a signed GRUB has no module tpm2_key_protector, and under Secure",
    ),
    (
        {**SEALED, "image_debug_console": True},
        "image_unlock has tpm2, but image_debug_console shows a shell that has the open disk",
    ),
    (
        {**LAUNCHED, "__image_selinux": "relabel_at_boot", "image_boot_test": False},
        "the first boot is followed by a second one, for which nobody gives the key: set",
    ),
    (
        {"image_unlock": ["launch_secret"]},
        "image_firmware is missing, and image_unlock has launch_secret: give the path, on the",
    ),
    (
        {**LAUNCHED, "image_firmware": "OVMF.amdsev.fd"},
        "image_firmware OVMF.amdsev.fd is no absolute path, and image_unlock has launch_secret",
    ),
    *(
        (
            {**given, "__image_luks": {"type": "luks2"}},
            f"image_unlock has {way}, but GRUB reads a LUKS2 header of the host without checking its sizes",
        )
        for way, given in (("launch_secret", LAUNCHED), ("tpm2", SEALED))
    ),
    (
        {"image_firmware": "/srv/OVMF.fd"},
        "image_firmware is given, but no way in image_unlock uses",
    ),
    (
        {"image_measurements": {"types": ["sev"]}},
        "image_measurements is given, but only launch_secret in image_unlock is measured so",
    ),
    (
        {**LAUNCHED, "__image_measurements": {"types": ["sev"], "vcpus": []}},
        "image_measurements names no guest: give at least one of types and one of vcpus",
    ),
    *(
        (
            {**LAUNCHED, "__image_measurements": {"types": ["sev"], "vcpus": [1, it]}},
            f"image_measurements has vcpus {it}: use numbers from 1 to 4096",
        )
        for it in (0, -1, 4097)
    ),
    (
        {**LAUNCHED, "image_boot_key": KEY},
        "image_boot_key has another form than GRUB's script for launch_secret reads: take what",
    ),
    ({"image_formats": []}, "image_formats [] names no format: name each that you want once"),
    ({"image_formats": ["qcow2", "vhd", "qcow2"]}, "[qcow2, vhd, qcow2] names a format twice:"),
    ({"__image_publish_tasks": "/gone/x.yml"}, "/gone/x.yml is no file on the control node"),
    ({"__image_publish_tasks": "/"}, "image_publish_tasks / is no file on the control node"),
    *(
        ({"image_source_date_epoch": it}, f"epoch {it} is no time between 1980 and now: give")
        for it in (1, 315532799, 1_700_000_001, 4102444800, -1)
    ),
    *(
        ({"image_uuid": it}, "is no UUID: take what uuidgen prints")
        for it in (
            "web-1",
            "6F1B2A34-0000-4000-8000-00000000000",
            "6f1b2a34000040008000" + "0" * 12,
        )
    ),
    *(
        ({"image_boot_key": it}, "image_boot_key is too weak or cannot be typed at GRUB: take what")
        for it in (
            "0123456789" * 5,
            KEY[:42],
            KEY + " x",
            KEY + "\n",
            KEY * 6,
        )
    ),
    (
        {"image_boot_key": KEY, "image_recovery_passphrase": KEY},
        "are the same: give the owner a key that is not in the initramfs",
    ),
    (
        {"image_kernel_cmdline": "quiet systemd.debug_shell=1 rd.break"},
        "has systemd.debug_shell=1 rd.break, which opens to the host or to its console",
    ),
    ({"image_kernel_cmdline": "systemd.machine_id=1f"}, "which every clone would share: leave it"),
    ({"image_kernel_cmdline": "rd.break"}, ", or set image_debug_console for an image to develop"),
    (
        {"__image_packages": ["auto", "cloud-init", "--yes", "grub=2", "a b", 7, None]},
        "has what is no name of a package (--yes, grub=2, a b, 7, None): give a list of names",
    ),
]


@pytest.mark.parametrize(("change", "says"), BAD)
def test_inputs_that_are_refused(change: dict[str, t.Any], says: str) -> None:
    (found,) = problems({**GIVEN, **change}, AROUND)
    assert says in found
    assert found.endswith(".")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"misspelled": "No input is called image_sizes: write image_size."},
            "No input is called image_sizes: write image_size.",
        ),
        *(
            ({"names": ["image_name", it]}, f"Only tasks may set {it}, since for a whole image")
            for it in sorted(_inputs.of_tasks())
        ),
        (
            {"replaced": {"image_root", "image_keys"}},
            "The build itself finds image_keys, image_root and",
        ),
        ({"interpreter": "/usr/bin/python3"}, "ansible_python_interpreter is an extra variable"),
        ({"connection": "local"}, "ansible_connection is 'local' for the image"),
        ({"steps": [{"problem": "Step 1 is lost.", "digest": ""}]}, "Step 1 is lost."),
    ],
)
def test_what_is_around_them(change: dict[str, t.Any], says: str) -> None:
    (found,) = problems(GIVEN, dataclasses.replace(AROUND, **change))
    assert says in found


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["image_name", "image_disk", "image_keys"], "image_disk, image_keys"),
        (["image_name", "my_disk"], ""),
        # Facts that an earlier build of the same run has left.
        (["image_name", "image_builder_info", "image_disk", "image_reached"], ""),
    ],
)
def test_a_fact_of_the_build_is_no_input(names: list[str], found: str) -> None:
    around = {**vars(AROUND), "names": names}
    for known_by_the_filter in ("options", "of_tasks", "replaced"):
        del around[known_by_the_filter]
    said = FilterModule().filters()["input_problems"](GIVEN, around)
    assert said == ([f"The build itself finds {found} and {NO_INPUT}"] if found else [])


def test_every_check_refuses_something_and_all_is_said_at_once() -> None:
    seen = {
        check for change, _says in BAD for check in CHECKS if check({**GIVEN, **change}, AROUND)
    }
    around = {"_misspelled", "_of_tasks", "_replaced", "_interpreter", "_connection"}
    assert {it.__name__ for it in set(CHECKS) - seen} == around
    found = problems(
        {**GIVEN, "image_name": "UPPER", "image_size": "big", "image_uuid": "x"}, AROUND
    )
    assert [it.split()[0] for it in found] == ["image_name", "image_size", "image_uuid"]


NO_INPUT = "hands it on as a fact, so it is no input: leave it out, also of the inventory."
NO_SWITCH: tuple[t.Any, ...] = ("y", "t", "maybe", "", 2, None, [])
TYPES: list[tuple[str, t.Any, str]] = [
    *(
        ("image_name", it, "image_name is no text but a number: put it in quotes.")
        for it in (7, 1.5)
    ),
    ("image_hostname", None, "image_hostname is no text but nothing: put it in quotes."),
    ("image_boot_key", 1234567890 * 10**40, "image_boot_key is no text but a number: put"),
    ("image_recovery_passphrase", [PASSPHRASE], "image_recovery_passphrase is no text but a list:"),
    ("image_recovery_passphrase", {"a b c": "d"}, "is no text but a dictionary: put it in quotes."),
    ("image_kernel_cmdline", True, "image_kernel_cmdline is no text but true or false: put it in"),
    ("image_work_dir", 7, "image_work_dir is no text but a number: put it in quotes."),
    (
        "image_formats",
        "qcow2",
        "image_formats is no list but text: write [...], and on the command",
    ),
    ("image_host_agents", "xen", '--extra-vars \'{"image_host_agents": ["..."]}\'.'),
    ("image_customize", '{"role": "x"}', "image_customize is no list but text: write [...]"),
    ("image_customize", {"role": "x"}, "image_customize is no list but a dictionary: write [...]"),
    ("image_source", "type=tar path=/x", "image_source is no dictionary but text: write {...}"),
    ("image_luks", "type=luks2", "--extra-vars '{\"image_luks\": {...}}'."),
    *(
        ("image_boot_test", it, "image_boot_test is neither true nor false: write one of the two.")
        for it in NO_SWITCH
    ),
    *(
        ("image_command_timeout", it, "image_command_timeout is no whole number: write digits")
        for it in ("1h", "1e3", 1.5, True, None, "", float("inf"), float("nan"))
    ),
    ("image_source_date_epoch", "today", "image_source_date_epoch is no whole number: write"),
]


SPECIFIED: list[tuple[dict[str, t.Any], str]] = [
    (
        source(type="bootstrap", distribution="debain", release="bookworm"),
        "value of distribution must be one of: debian, got: debain found in image_source.",
    ),
    (source(path="/root.tar"), "missing required arguments: type found in image_source."),
    (
        source(type="tar", path="/root.tar", relase="x"),
        "No option is called image_source.relase: write image_source.release.",
    ),
    (
        source(type="bootstrap", distro="debian", release="bookworm"),
        "No option is called image_source.distro: write image_source.distribution.",
    ),
    ({"image_luks": {"hash": "md5"}}, "value of hash must be one of: sha256, sha512, got: md5"),
    ({"image_unlock": ["tpm"]}, "value of image_unlock must be one or more of: launch_secret,"),
    ({"image_formats": ["vdi"]}, "value of image_formats must be one or more of: qcow2, raw, vhd,"),
    ({"image_grow": "perhaps"}, "value of image_grow must be one of: auto, false, true, got:"),
]


@pytest.mark.parametrize(("change", "says"), SPECIFIED)
def test_what_the_specification_refuses_is_said_alone(change: dict[str, t.Any], says: str) -> None:
    (found,) = problems({**GIVEN, "image_uuid": "x", **change}, AROUND)
    assert says in found
    assert len(found) < 300


def test_a_build_needs_a_root() -> None:
    given = {name: value for name, value in GIVEN.items() if name != "image_source"}
    (found,) = problems(given, AROUND)
    assert found.startswith("image_source is missing: give {type: tar, path: /absolute/root.tar}")


@pytest.mark.parametrize(("name", "value", "says"), TYPES)
def test_values_that_cannot_be_judged_are_refused_alone(name: str, value: t.Any, says: str) -> None:
    """Core's specification converts a copy of them; the roles have what was given."""
    (found,) = problems({**GIVEN, "image_uuid": "x", name: value}, AROUND)
    assert says in found


def test_no_container_of_ansible_is_copied() -> None:
    """Its copy would include all variables of the host, which takes a second."""

    class Lazy(dict[str, t.Any]):
        def __deepcopy__(self, memo: object) -> t.NoReturn:
            raise AssertionError("copied")

    class LazyList(list[t.Any]):
        def __deepcopy__(self, memo: object) -> t.NoReturn:
            raise AssertionError("copied")

    lazy = {"image_source": Lazy(GIVEN["image_source"]), "image_formats": LazyList(["qcow2"])}
    assert problems({**GIVEN, **lazy}, AROUND) == []


def test_no_secret_is_in_a_sentence() -> None:
    """An URL can have a password in it."""
    url = "https://me:hunter2hunter2@example.org/root.tar"
    given = {
        **GIVEN,
        "image_boot_key": "hunter2hunter2",
        "image_recovery_passphrase": "hunter2hunter2",
        "image_root_password_hash": "hunter2hunter2",
        "image_source": {"type": "tar", "url": url, "signature": url, "mirror": url},
    }
    found = problems(given, AROUND)
    assert len(found) == 4
    assert "hunter2" not in " ".join(found)


def test_a_switch_of_the_command_line_is_a_word() -> None:
    assert [is_set(it) for it in (True, "true", "yes", "1", 1)] == [True] * 5
    assert [is_set(it) for it in (False, "false", "no", "0", 0, "", "auto")] == [False] * 7


@pytest.mark.parametrize(
    ("keep", "passphrase", "says"),
    [
        ([], "", []),
        ([2, 3], PASSPHRASE, []),
        ([2, 0], "", ["Slot 0 is the boot key's"]),
        (["0"], "", ["Slot 0 is the boot key's"]),
        # As a build has it.
        ([], "a" * 40, ["rotate_recovery_passphrase is too weak or cannot be typed"]),
        ([0], "short", ["Slot 0 is", "rotate_recovery_passphrase is too weak"]),
        ([], PASSPHRASE + "\n", ["rotate_recovery_passphrase is too weak"]),
        ([], 31415926535897932384, ["rotate_recovery_passphrase is no text but a number: put"]),
    ],
)
def test_inputs_of_a_rotation(keep: list[t.Any], passphrase: str, says: list[str]) -> None:
    found = rotation_problems(keep, passphrase)
    assert len(found) == len(says)
    assert all(it in sentence for it, sentence in zip(says, found, strict=True))


def test_a_key_that_other_machines_have() -> None:
    (found,) = rotation_problems([], "", sharing=["web-3", "web-2"])
    assert found.startswith(
        "The boot key that would be replaced is also that of web-2, web-3, which"
    )


def test_a_launch_secret_that_cannot_be_made_again() -> None:
    (found,) = rotation_problems([], "", secret="out/web/launch/secret.bin")
    assert found.startswith("out/web/launch/secret.bin has the old key, and firmware.fd,")
