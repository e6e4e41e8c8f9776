# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units of systemd, as they are read."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import systemd

ETC, USR, LIB = "/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"
MASK = (0o777, "/dev/null")


def file(text: str) -> tuple[int, bytes]:
    return (0o644, text.encode())


UNIT = file("[Service]\nExecStart=usr\n")
DROP_IN = file("[Service]\nExecStart=drop-in\n")


@pytest.mark.parametrize(
    ("files", "commands"),
    [
        ({}, []),
        ({f"{USR}/a.service": UNIT}, ["usr"]),
        ({f"{LIB}/a.service": UNIT}, ["usr"]),
        ({f"{USR}/a.service": UNIT, f"{ETC}/a.service": DROP_IN}, ["drop-in"]),
        ({f"{ETC}.control/a.service": DROP_IN, f"{ETC}/a.service": UNIT}, ["drop-in"]),
        ({f"{USR}/a.service": UNIT, f"{ETC}/a.service": MASK}, []),
        ({f"{USR}/a.service": UNIT, f"{ETC}/a.service": (0o777, "../../../dev/null")}, []),
        ({f"{USR}/a.service": UNIT, f"{ETC}/a.service": file("")}, []),
        # An alias is read where it leads to.
        ({f"{USR}/b.service": UNIT, f"{ETC}/a.service": (0o777, f"{USR}/b.service")}, ["usr"]),
        ({f"{USR}/a.service": UNIT, f"{ETC}/a.service.d/x.conf": DROP_IN}, ["usr", "drop-in"]),
        ({f"{USR}/a.service": UNIT, f"{ETC}/a.service.d/x": DROP_IN}, ["usr"]),
        # Of the same name, the one in /etc hides the other.
        (
            {f"{USR}/a.service.d/x.conf": UNIT, f"{ETC}/a.service.d/x.conf": DROP_IN},
            ["drop-in"],
        ),
        ({f"{USR}/a.service.d/x.conf": UNIT, f"{ETC}/a.service.d/x.conf": MASK}, []),
        # Of others, the names say which is the last, and not the directories.
        (
            {f"{USR}/a.service.d/z.conf": UNIT, f"{ETC}/a.service.d/x.conf": DROP_IN},
            ["drop-in", "usr"],
        ),
        ({f"{ETC}/service.d/x.conf": DROP_IN}, ["drop-in"]),
    ],
)
def test_settings(tree: t.Any, files: dict[str, t.Any], commands: list[str]) -> None:
    found = systemd.Units(tree(files)).settings("a.service")
    assert [it.value for it in found] == commands


@pytest.mark.parametrize(
    "directory",
    ["x-y@1.service.d", "x-y@.service.d", "x-@.service.d", "x-@1.service.d", "service.d"],
)
def test_an_instance_is_its_template_with_drop_ins(tree: t.Any, directory: str) -> None:
    files = {f"{USR}/x-y@.service": UNIT, f"{ETC}/{directory}/a.conf": DROP_IN}
    found = systemd.Units(tree(files)).settings("x-y@1.service")
    assert [it.value for it in found] == ["usr", "drop-in"]


WANTS = file("[Unit]\nRequires=b.service a.service\n")


@pytest.mark.parametrize(
    ("files", "starter"),
    [
        ({f"{USR}/a.service": UNIT}, None),
        (
            {f"{ETC}/x.target.wants/a.service": (0o777, "../a.service")},
            f"{ETC}/x.target.wants/a.service",
        ),
        (
            {f"{USR}/x.target.requires/a.service": (0o777, "../a.service")},
            f"{USR}/x.target.requires/a.service",
        ),
        ({f"{USR}/x.target.wants/b.service": (0o777, "../a.service")}, None),
        (
            {
                f"{USR}/x.target.wants/a.service": (0o777, "../a.service"),
                f"{ETC}/x.target.wants/a.service": MASK,
            },
            None,
        ),
        ({f"{ETC}/x.service": WANTS}, f"{ETC}/x.service"),
        ({f"{ETC}/x.service.d/y.conf": WANTS}, f"{ETC}/x.service.d/y.conf"),
        ({f"{ETC}/x.service.d/y": WANTS}, None),
        ({f"{ETC}/x.service": file("[Unit]\nAfter=a.service\n")}, None),
    ],
)
def test_what_starts_a_unit(tree: t.Any, files: dict[str, t.Any], starter: str | None) -> None:
    assert systemd.Units(tree(files)).starter("a.service") == starter


def section(name: str, *lines: str) -> tuple[int, bytes]:
    return file("\n".join([f"[{name}]", *lines, ""]))


@pytest.mark.parametrize(
    ("content", "starts"),
    [
        (section("Timer", "OnBootSec=1", "Unit=srv-x.mount"), True),
        (section("Path", "PathExists=/x", "Unit=srv-x.mount"), True),
        (section("Socket", "Service=srv-x.mount"), True),
        (section("Unit", "OnSuccess=a.service srv-x.mount"), True),
        (section("Unit", "OnFailure=srv-x.mount"), True),
        # A specifier may stand for anything.
        (section("Unit", "Wants=srv-%i.mount"), True),
        (section("Unit", "Wants=%i-x.mount"), True),
        (section("Unit", "Wants=srv-%i.swap"), False),
        (section("Unit", "Wants=srv-%%.mount"), False),
        (section("Unit", "RequiresMountsFor=/a /srv/x/y"), True),
        (section("Unit", "WantsMountsFor=/srv/x"), True),
        (section("Unit", "RequiresMountsFor=/srv/xy"), False),
        (section("Service", "WorkingDirectory=-/srv/x"), True),
        (section("Service", "WorkingDirectory=~"), False),
        (section("Service", "RootDirectory=/srv/x/root"), True),
        (section("Unit", "OnFailureJobMode=srv-x.mount"), False),
    ],
)
def test_what_starts_a_mount(tree: t.Any, content: tuple[int, bytes], starts: bool) -> None:
    found = systemd.Units(tree({f"{ETC}/a@.service": content})).starter("srv-x.mount")
    assert found == (f"{ETC}/a@.service" if starts else None)


@pytest.mark.parametrize(
    ("path", "rule", "starts"),
    [
        ("/etc/udev/rules.d/a.rules", 'ENV{SYSTEMD_WANTS}="srv-x.mount"', True),
        (
            "/etc/udev/rules.d/a.rules",
            'TAG+="x", ENV{SYSTEMD_WANTS} += "a.service srv-x.mount"',
            True,
        ),
        ("/usr/local/lib/udev/rules.d/a.rules", 'ENV{SYSTEMD_WANTS}+="srv-%k.mount"', True),
        ("/etc/udev/rules.d/a", 'ENV{SYSTEMD_WANTS}="srv-x.mount"', False),
        ("/etc/udev/rules.d/a.rules", 'ENV{SYSTEMD_WANTS}="srv-x.service"', False),
    ],
)
def test_a_rule_of_udev_that_starts_a_mount(
    tree: t.Any, path: str, rule: str, starts: bool
) -> None:
    found = systemd.Units(tree({path: file(rule)})).starter("srv-x.mount")
    assert found == (path if starts else None)
