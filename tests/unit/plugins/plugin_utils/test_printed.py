# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What programs of an image print, used only in a strict form."""

from __future__ import annotations

import hostile_answers
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sealedroot.image.plugins.filter.image_answers import FilterModule

FILTERS = FilterModule().filters()


@pytest.mark.parametrize("word", hostile_answers.WORDS)
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
    for bad in (*(set(hostile_answers.WORDS) - {"a b"}), *others):
        with pytest.raises(AnsibleFilterError, match="The image lists a package as"):
            package_list([line, bad], kind)
    with pytest.raises(AnsibleFilterError, match="The image lists more than 50000 packages"):
        package_list([line] * 50_001, kind)
