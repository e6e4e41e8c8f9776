# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image says of itself, before it is used."""

from __future__ import annotations

import typing as t

import distribution_trees as trees
import hostile_answers
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sealedroot.image.plugins.filter.image_answers import FilterModule
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.modules import root_info
from ansible_collections.sealedroot.image.plugins.plugin_utils import _documented

FAMILIES = LookupModule().run([])
FILTERS = FilterModule().filters()


def answer(**change: t.Any) -> dict[str, t.Any]:
    """Return what root_info says of a Debian, with a change."""
    found = hostile_answers.example(
        _documented.returned("root_info"), {"facts": False, "secure_boot": {"hash": "sha256"}}
    )["root"]
    found["secure_boot"] = {"shim": "", "grub": "", "mok_manager": "", "missing_modules": []}
    found["has"]["selinux"] = {"mode": "", "type": "", "policy": "", "setfiles": False}
    return {**found, **change}


def now(found: dict[str, t.Any]) -> dict[str, t.Any]:
    tar = {
        **answer(),
        "path": "/t.tar",
        "sha256": "",
        "kernels": [],
        "left_out": ["x"],
        "changed": False,
    }
    return dict(FILTERS["root_now"](tar, found, FAMILIES))


def test_what_an_installation_can_change_is_taken_and_nothing_else() -> None:
    found = answer(
        kernels=["6.1.0-1-amd64"],
        left_out=[],
        excluded=["y"],
        entries=0,
        path="/x",
        evil=1,
        notes=["z"],
    )
    assert now(found) == {
        **answer(),
        "path": "/t.tar",
        "sha256": "",
        "changed": False,
        "kernels": ["6.1.0-1-amd64"],
        "left_out": ["x"],
    }


@pytest.mark.parametrize("it", trees.ALL, ids=lambda it: it.name)
def test_every_distribution_s_own_answer_passes(it: trees.Distribution, tmp_path: t.Any) -> None:
    header = {"luks_type": "luks1", "hash": "sha256", "filesystem": "ext4"}
    params = {"families": FAMILIES, "filesystem": "ext4", "secure_boot": header}
    found = root_info.of_tree(str(trees.make(it, tmp_path / "root")), params)["root"]
    kept = _documented.kept("root_info", {"root": found}, params)["root"]
    assert kept == found
    assert FILTERS["root_now"]({**found, "path": "p"}, kept, FAMILIES) == {**found, "path": "p"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"family": "redhat"}, "The family of the image was 'debian', and now it is 'redhat'"),
        ({"family": "\x1b../x"}, "now it is '\ufffd../x'"),
        (
            {"architecture": "aarch64"},
            "The architecture of the image was 'x86_64', and now it is 'aarch64'",
        ),
        ({"initramfs": "mkinitcpio"}, "what builds the initramfs is 'mkinitcpio'"),
        ({"kernel_disks": {"6.1": ["nothing"]}}, "a driver of a kernel is 'nothing'"),
        ({"missing_packages": ["evil"]}, "a package that is missing is 'evil'"),
        ({"missing_growth_packages": ["-o=x"]}, "a package that is missing is '-o=x'"),
        (
            {"secure_boot": {**answer()["secure_boot"], "shim": "/etc/shadow"}},
            "boot file is '/etc/shadow'",
        ),
        (
            {"secure_boot": {**answer()["secure_boot"], "missing_modules": ["A;"]}},
            "signed GRUB is 'A;'",
        ),
    ],
)
def test_what_no_root_of_the_family_says_is_an_error(change: t.Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match="look at where the root is from") as caught:
        now(answer(**change))
    assert said in str(caught.value)


def test_a_generator_of_another_family_is_left_to_its_problem() -> None:
    assert now(answer(initramfs="mkinitcpio", problems=["Install another."]))["problems"] == [
        "Install another."
    ]


@pytest.mark.parametrize("word", hostile_answers.WORDS)
def test_what_becomes_a_name_has_a_strict_form(word: str) -> None:
    has = answer()["has"]
    policy = {**has["selinux"], "policy": word}
    changes: tuple[dict[str, t.Any], ...] = (
        {"kernels": [word]},
        {"kernel_disks": {word: []}},
        {"has": {**has, "grub_platforms": [word]}},
        {"has": {**has, "grub_modules": {"x86_64-efi": [word]}}},
        *([{"has": {**has, "selinux": policy}}] if word else []),
    )
    for change in changes:
        if word == "-x" and "grub_platforms" in str(change):
            continue
        with pytest.raises(AnsibleFilterError, match="In the image"):
            now(answer(**change))


def test_where_a_family_has_its_signed_files_is_no_error() -> None:
    paths = {"shim": "/usr/lib/shim/shimx64.efi.signed", "grub": "", "mok_manager": ""}
    found = now(answer(secure_boot={**paths, "missing_modules": ["luks2"]}))
    assert found["secure_boot"]["shim"] == paths["shim"]
