# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links of systemd that the recipe for systemd in a container removes."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._root import former_use, lost_links
from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import Member

USR, LIB, ETC = "usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system"
UDEV = "Nothing starts systemd-udevd.service: "
LOGIND, GETTY = "systemd-logind.service", "getty.target"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], []),
        ([f"{USR}/systemd-udevd.service"], [UDEV]),
        ([f"{LIB}/systemd-udevd.service"], [UDEV]),
        (
            [
                f"{LIB}/systemd-udevd.service",
                f"{LIB}/sysinit.target.wants/systemd-udevd.service",
            ],
            [],
        ),
        (
            [
                f"{USR}/systemd-udevd.service",
                f"{USR}/sockets.target.wants/systemd-udevd-kernel.socket",
            ],
            [],
        ),
        (
            [
                f"{USR}/systemd-udevd.service",
                f"{ETC}/sysinit.target.requires/systemd-udev-trigger.service",
            ],
            [],
        ),
        # The link of another unit.
        ([f"{USR}/systemd-udevd.service", f"{USR}/sysinit.target.wants/x.service"], [UDEV]),
        # The build undoes a mask.
        ([f"{USR}/systemd-udevd.service", f"{ETC}/systemd-udevd.service"], []),
        ([f"{USR}/{LOGIND}", f"{USR}/{GETTY}"], []),
    ],
)
def test_udev_without_a_link(names: list[str], says: list[str]) -> None:
    assert [it[: len(UDEV)] for it in lost_links.problems(names)] == says


@pytest.mark.parametrize(
    ("names", "lost"),
    [
        ([f"{USR}/{LOGIND}"], LOGIND),
        ([f"{USR}/{LOGIND}", f"{USR}/{GETTY}"], f"{LOGIND}, {GETTY}"),
        ([f"{USR}/{GETTY}", f"{USR}/multi-user.target.wants/{GETTY}"], ""),
        ([f"{USR}/{GETTY}", f"{ETC}/multi-user.target.wants/{GETTY}"], ""),
        # It is masked, which has a note of its own.
        ([f"{USR}/{GETTY}", f"{ETC}/{GETTY}"], ""),
        ([f"{USR}/systemd-journald.service"], "systemd-journald.service"),
        (
            [
                f"{USR}/systemd-journald.service",
                f"{USR}/sockets.target.wants/systemd-journald.socket",
            ],
            "",
        ),
        ([f"{USR}/systemd-udevd.service"], ""),
    ],
)
def test_what_a_machine_may_lack(names: list[str], lost: str) -> None:
    found = lost_links.notes(names)
    assert [it.partition(": the links")[0] for it in found] == [f"Nothing starts {lost}"] * bool(
        lost
    )


def test_it_is_said_of_a_root() -> None:
    names = (f"{USR}/systemd-udevd.service", f"{USR}/{LOGIND}")
    have = {name: Member("-", name, 44, 512, f"./{name}") for name in names}
    assert former_use.problems(have, lambda _name: "")[0].startswith(UDEV)
    assert former_use.notes(have, lambda _name: "")[0].startswith(f"Nothing starts {LOGIND}: ")
