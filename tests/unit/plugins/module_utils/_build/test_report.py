# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report says what the manifest says, and no string of a manifest is anything but text in it."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import jinja2
import pytest
import yaml
from ansible_collections.sealedroot.image.plugins.module_utils._audit import reports
from ansible_collections.sealedroot.image.plugins.module_utils._build import report, report_words
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from html_page import HOSTILE, Page, spoilt

ROOT = pathlib.Path(__file__).resolve().parents[5]
MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def manifest() -> dict[str, t.Any]:
    """The manifest of a build of Debian 12."""
    read: dict[str, t.Any] = json.loads((ROOT / "tests/unit/fixtures/manifest.json").read_text())
    return read


def test_every_check_has_a_meaning() -> None:
    assert tuple(report_words.CHECKS) == reports.CHECKS


def test_every_stage_has_a_meaning() -> None:
    found = set()
    for path in (ROOT / "roles").rglob("*.yml"):
        text = path.read_text()
        found.update(re.findall(r"sealedroot\.image\.reached\('(\w+)'\)", text))
        found.update(re.findall(r"^ *__source_stage: (\w+)$", text, re.MULTILINE))
    assert found == set(report_words.STAGES)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (99 * MIB, "99 MiB"),
        (4189061120, "3.9 GiB"),
        (10 * GIB, "10 GiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert report.size_text(size) == text


@pytest.mark.parametrize(
    ("sizes", "widths"),
    [
        ([1], [960]),
        ([1, 1], [480, 480]),
        ([1, 2, 1], [240, 480, 240]),
        # Too narrow to read, so wider.
        ([1, 99, 3996, 1], [150, 150, 510, 150]),
        ([1, 5000, 5000], [150, 405, 405]),
    ],
)
def test_parts_are_drawn_to_scale_if_they_can_be_read(sizes: list[int], widths: list[int]) -> None:
    assert report.widths(sizes) == widths


def test_what_a_page_says(manifest: dict[str, t.Any]) -> None:
    page = Page(report.page(manifest))
    assert not page.problems
    for words in (
        *report_words.CHECKS,
        *("web-1", "Debian GNU/Linux 12 (bookworm)", "All of 22 proofs passed."),
        *("4 GiB", "99 MiB", "3.9 GiB", "slot 0: 1000 iterations"),
        *("boot_test", "164 s", "GRUB refused the key"),
        *("3 packages", "adduser 3.134 all", "/swapfile: a swap file"),
        *(
            "6ce6789a2c905e0061d16f69a8ecb0fb4b6ef36772ffab47de093cab5772a7d9  disk.qcow2",
            "opens key slot 1",
        ),
        "qemu-system-x86_64 -machine q35",
        '-e "{audit_image: $PWD/disk.qcow2, audit_keys: {boot: $PWD/boot.key}}"',
    ):
        assert words in page.words
    # In the order of a build, which a sorted manifest has lost.
    stages = page.words.split("How long it took")[1]
    order = [stages.index(it) for it in ("disk", "initramfs", "seal", "audit", "boot_test")]
    assert order == sorted(order)


def test_a_failed_proof_is_said_first(manifest: dict[str, t.Any]) -> None:
    manifest["audit"]["checks"][3]["verdict"] = "failed"
    text = report.page(manifest)
    assert "1 of 22 proofs failed." in Page(text).words
    assert text.count('<span class="failed">') == 1


def test_an_image_that_was_not_booted(manifest: dict[str, t.Any]) -> None:
    assert "was not booted" in Page(report.page({**manifest, "boot_test": {}})).words


def test_foreign_strings_are_text(manifest: dict[str, t.Any]) -> None:
    text = report.page(spoilt(manifest))
    page = Page(text)
    assert not page.problems
    assert "<script>document.title='taken'</script>" in page.words
    assert HOSTILE not in text
    assert text.encode()
    # Names of shells are for shells: none of them is in a command.
    assert "$PWD" not in text


@pytest.mark.parametrize("odd", [None, [], [1], "x", 3, {}, {"x": 1}, [{}]])
def test_no_manifest_is_too_odd(manifest: dict[str, t.Any], odd: object) -> None:
    assert not Page(report.page({"name": "web"})).problems
    for key in manifest:
        assert not Page(report.page({**manifest, key: odd})).problems
        if isinstance(manifest[key], dict):
            for inner in manifest[key]:
                spoiled = {**manifest, key: {**manifest[key], inner: odd}}
                assert not Page(report.page(spoiled)).problems


def test_it_is_made_of_the_manifest_that_lists_it(manifest: dict[str, t.Any]) -> None:
    listed = {**manifest["files"], "report.html": {"sha256": "0" * 64, "size": 1}}
    assert report.page({**manifest, "files": listed}) == report.page(manifest)


def summary(machine: str, fmt: str, *, secure_boot: bool) -> str:
    """Return the command that the role seal prints at the end."""
    environment = jinja2.Environment(trim_blocks=True, autoescape=False)
    environment.filters |= {
        "bool": bool,
        "sealedroot.image.architecture": lambda it: architectures.find(it).words(),
    }
    said = environment.from_string((ROOT / "roles/seal/templates/summary.j2").read_text()).render(
        image_architecture=machine,
        image_formats=[fmt],
        image_secure_boot=secure_boot,
        __seal_publication={"disks": {fmt: f"disk.{fmt}"}},
        __seal_converted={"disks": {fmt: {"driver": FORMATS[fmt].driver}}},
        __seal_left_out=[],
        image_unlock=["prompt"],
    )
    return said.split("boot it with: ")[1].strip()


def test_an_image_that_asks_nobody(manifest: dict[str, t.Any]) -> None:
    manifest["inputs"]["unlock"] = ["launch_secret"]
    manifest["files"]["launch/core.efi"] = {"sha256": "0" * 64, "size": 1}
    manifest["files"]["launch/secret.bin"] = {"holds": "boot.key"}
    page = Page(report.page(manifest))
    assert not page.problems
    assert "started from launch/firmware.fd and launch/core.efi" in page.words
    assert "GRUB asks once" not in page.words
    assert "holds boot.key" in page.words
    assert "image_firmware" not in page.words
    manifest["inputs"]["unlock"] = ["launch_secret", "prompt"]
    assert "GRUB asks once" in Page(report.page(manifest)).words


@pytest.mark.parametrize("machine", architectures.ARCHITECTURES)
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("secure_boot", [False, True])
def test_the_command_is_the_one_that_a_build_prints(
    manifest: dict[str, t.Any], machine: str, fmt: str, *, secure_boot: bool
) -> None:
    manifest["inputs"].update(architecture=machine, formats=[fmt], secure_boot=secure_boot)
    command = " ".join(report.boot_command(manifest))
    assert command == summary(machine, fmt, secure_boot=secure_boot)
    assert command in Page(report.page(manifest)).words


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "audit_keys: {boot: $PWD/boot.key}}"),
        ({"architecture": "aarch64"}, "image_architecture: aarch64}"),
        ({"secure_boot": True, "formats": ["raw"]}, "image_secure_boot: true}"),
        ({"debug_console": True}, "image_debug_console: true}"),
        ({"host_agents": ["cloud-init"]}, "image_host_agents: [cloud-init]}"),
        ({"host_agents": ["a b"]}, "audit_keys: {boot: $PWD/boot.key}}"),
    ],
)
def test_the_proof_is_repeated_with_the_inputs_that_it_depends_on(
    manifest: dict[str, t.Any], inputs: dict[str, t.Any], words: str
) -> None:
    manifest["inputs"].update(inputs)
    said = Page(report.page(manifest)).words
    command = next(it for it in said.splitlines() if "verify_image" in it)
    assert command.endswith(f'{words}"')
    given = yaml.safe_load(command.split('-e "')[1][:-1])
    assert given["audit_image"] == f"$PWD/disk.{manifest['inputs']['formats'][0]}"
