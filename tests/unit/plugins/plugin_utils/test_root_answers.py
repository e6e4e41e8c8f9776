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
BAD = [
    *("../x", "a b", "-x", "a;id", "$(id)", "a\nb", "a\n", "", "é"),
    hostile_answers.TEMPLATE,
    "a" * 200,
]


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


@pytest.mark.parametrize("word", BAD)
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


@pytest.mark.parametrize("word", BAD)
def test_kernels_that_become_words_of_a_command(word: str) -> None:
    script = FILTERS["initramfs_script"]
    good = {"path": "/boot/ab/initrd.img-6.1", "version": "6.1.0-1.fc40.x86_64+debug"}
    assert f"{good['path']} {good['version']}" in script("dracut", [{**good, "evil": 1}])
    with pytest.raises(AnsibleFilterError, match="what builds the initramfs"):
        script(word, [good])
    for bad in (
        {**good, "version": word},
        {**good, "path": word},
        {**good, "path": f"/boot/{word}"},
    ):
        with pytest.raises(AnsibleFilterError, match="In the image"):
            script("dracut", [good, bad])


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("deb", "libc6 2.36-9+deb12u10 amd64"),
        ("deb", "g++ 4:12.2.0-3~x all"),
        ("rpm", "gpg-pubkey 105ef944-65ca83d1 (none)"),
        # rpm 6
        ("rpm", "gpg-pubkey 4d64fec119c2029067d6e791f8d2585b8783d481-63ceb953 (none)"),
        ("rpm", "libstdc++ 1:14.1.1-7.fc40~rc1^git1 x86_64"),
        ("rpm", "NetworkManager 1:1.48-1.el9 x86_64"),
        ("alpm", "gtk-update-icon-cache 1:4.14.4-1"),
        ("alpm", "lib32-glibc 2.39+r52+gf8e4623421-1"),
    ],
)
def test_packages_are_listed_by_a_line_each(kind: str, line: str) -> None:
    package_list = FILTERS["package_list"]
    assert package_list([f"z{line}", line, line], kind) == [line, line, f"z{line}"]
    others = (
        f" {line}",
        f"{line} x",
        f"{line}\n",
        line.replace(" ", "\t"),
        line.replace(" ", " \x1b", 1),
    )
    for bad in (*(set(BAD) - {"a b"}), *others):
        with pytest.raises(AnsibleFilterError, match="The image lists a package as"):
            package_list([line, bad], kind)
    with pytest.raises(AnsibleFilterError, match="The image lists more than 50000 packages"):
        package_list([line] * 50_001, kind)
