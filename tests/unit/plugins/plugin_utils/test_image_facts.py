# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the facts of setup become in an image."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils import _answers
from ansible_collections.sealedroot.image.plugins.plugin_utils._image_facts import ImageFacts

OF_IMAGE = {
    "architecture": "aarch64",
    "is_chroot": True,
    "kernel": "6.1.0-50-cloud-arm64",
    "machine": "aarch64",
    "service_mgr": "systemd",
}
KNOWN = ImageFacts(OF_IMAGE, "web-1.example.org")
GONE = object()


@pytest.mark.parametrize(
    ("name", "gathered", "value"),
    [
        ("ansible_kernel", "6.18.0-builder", "6.1.0-50-cloud-arm64"),
        ("ansible_architecture", "x86_64", "aarch64"),
        ("ansible_machine", "x86_64", "aarch64"),
        ("ansible_service_mgr", "ld-linux-x86-64", "systemd"),
        ("ansible_is_chroot", False, True),
        ("ansible_virtualization_type", "NA", "kvm"),
        ("ansible_hostname", "localhost", "web-1"),
        ("ansible_nodename", "localhost", "web-1.example.org"),
        ("ansible_fqdn", "localhost", "web-1.example.org"),
        ("ansible_domain", "", "example.org"),
        ("ansible_default_ipv4", {"address": "10.0.2.100"}, {}),
        ("ansible_all_ipv4_addresses", ["10.0.2.100"], []),
        ("ansible_interfaces", ["tap0"], []),
        ("ansible_mounts", [{"mount": "/run/sealedroot"}], []),
        ("ansible_processor_vcpus", 64, 1),
        ("ansible_processor", ["0", "AuthenticAMD", "EPYC"], GONE),
        ("ansible_kernel_version", "#1 SMP", GONE),
        ("ansible_memtotal_mb", 1 << 20, GONE),
        ("ansible_product_serial", "the builder's", GONE),
        ("ansible_devices", {"vda": {}}, GONE),
        ("ansible_dns", {"nameservers": ["10.0.2.3"]}, GONE),
        ("ansible_distribution", "Debian", "Debian"),
        ("ansible_env", {"HOME": "/root"}, {"HOME": "/root"}),
        ("getent_passwd", {}, {}),
        # No fact of a machine.
        ("kernel", "a key of another module", "a key of another module"),
    ],
)
def test_a_fact_is_the_images_or_is_left_out(name: str, gathered: t.Any, value: t.Any) -> None:
    assert KNOWN.corrected({name: gathered}) == ({} if value is GONE else {name: value})


@pytest.mark.parametrize("facts", [None, {}, {**OF_IMAGE, "is_chroot": False}])
def test_what_nobody_looked_for_in_the_image_is_left_out(facts: t.Any) -> None:
    gathered = {f"ansible_{name}": "of the builder" for name in OF_IMAGE}
    assert ImageFacts(facts).corrected(gathered) == {"ansible_is_chroot": True}


def test_a_subset_stays_one() -> None:
    assert KNOWN.corrected({"ansible_pkg_mgr": "apt"}) == {"ansible_pkg_mgr": "apt"}


def test_the_output_of_a_module_is_corrected() -> None:
    printed = b'{"ansible_facts": {"ansible_kernel": "of the builder", "ansible_pkg_mgr": "apt"}}'
    assert _answers.parsed(_answers.plain(printed, KNOWN).decode()) == {
        "ansible_facts": {"ansible_kernel": OF_IMAGE["kernel"], "ansible_pkg_mgr": "apt"}
    }


@pytest.mark.parametrize(
    ("job", "kept"),
    [("j123.45", True), ("123.45", True), ("../j1.2", False), ("j1.2\n", False), (7, False)],
)
def test_core_waits_only_for_the_job_of_an_async_task(job: t.Any, kept: bool) -> None:
    printed = f'{{"ansible_job_id": {_answers.json.dumps(job)}}}'.encode()
    waiting = ImageFacts(awaits_job=True)
    assert (b"ansible_job_id" in _answers.plain(printed, waiting)) is kept
    assert b"ansible_job_id" not in _answers.plain(printed, KNOWN)
