# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What commands of an image that have a network take over from the builder."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import network


@pytest.mark.parametrize(
    ("builder", "image"),
    [
        ("", []),
        ("nameserver 192.0.2.1\n# search no.example\n", []),
        (
            "search a.example b.example\nnameserver 192.0.2.1\noptions edns0 trust-ad\ndomain\tc.example",
            ["search a.example b.example", "options edns0 trust-ad", "domain\tc.example"],
        ),
        ("searching a\nsortlist 192.0.2.0\n", []),
    ],
)
def test_names_are_resolved_as_on_the_builder(builder: str, image: list[str]) -> None:
    assert network.resolv_conf(builder).splitlines() == ["nameserver 10.0.2.3", *image]


@pytest.mark.parametrize(
    ("printed", "rc", "checks"),
    [("", 0, True), ("checks='true'\n", 0, True), ("checks='false'\n", 0, False), ("", 100, True)],
)
def test_what_the_builders_apt_says(runner, script, printed, rc, checks) -> None:
    argv = ["apt-config", "shell", "checks", "Acquire::Check-Valid-Until/b"]
    script.expect(argv, stdout=printed, rc=rc)
    assert network.checks_valid_until(runner) is checks


def test_a_builder_without_apt(runner) -> None:
    runner.missing.add("apt-config")
    assert network.checks_valid_until(runner) is True
