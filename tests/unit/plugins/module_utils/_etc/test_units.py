# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units of systemd as texts."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc import units

ETC, USR = "etc/systemd/system", "usr/lib/systemd/system"
DATA = "[Mount]\nWhat=/dev/disk/by-uuid/6b5d\nWhere=/data\nType=ext4\n"
INSTALL = "[Install]\nRequiredBy=local-fs.target\n"
LINK = f"{ETC}/local-fs.target.requires/data.mount"
ROW = ["/dev/disk/by-uuid/6b5d", "/data", "ext4", "defaults"]
WHAT = "[Mount]\nWhat=/dev/vdb\n"
ON_DEMAND = [*ROW[:3], "defaults,noauto"]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", []),
        ("[Service]\nExecStart=a = b\n", [("Service", "ExecStart", "a = b")]),
        ("[Unit]\n# x=1\n ; y=2\n a = 1 \n", [("Unit", "a", "1")]),
        (
            "[Service]\nExecStart=a \\\n# no\n  b\nType=x",
            [("Service", "ExecStart", "a    b"), ("Service", "Type", "x")],
        ),
        ("[S]\na=b\\\\\nc=d", [("S", "a", "b\\\\"), ("S", "c", "d")]),
        ("a=1\n[no", [("", "a", "1")]),
        # docs/facts.md: unit-lines.
        ("# x\r[S]\ra=1\r", [("S", "a", "1")]),
        ("[S]\n# x\0a=1\n", [("S", "a", "1")]),
        ("[S]\r\na=b\\\r\nc=d\r\n", [("S", "a", "b c=d")]),
        ("[S]\na=b\\\n\rc=d\n", [("S", "a", "b c=d")]),
        ("[S]\na=b\\\r\rc=d\n", [("S", "a", "b"), ("S", "c", "d")]),
        ("[S]\na=b\\", [("S", "a", "b")]),
        ("\ufeff[S]\na=1\n", [("S", "a", "1")]),
        ("[S]\n\ufeffa=1\n\ufeffb=2\n", [("S", "a", "1"), ("S", "\ufeffb", "2")]),
        # What other programs take for blanks is none.
        ("[S]\n\v# \\\na=1\nb=2\n", [("S", "\v#  a", "1"), ("S", "b", "2")]),
        ("[S]\n\x1c[T]\na=1\xa0\n", [("S", "a", "1\xa0")]),
        ("[S]\na=1\n[no\n[S]\na=\n", [("S", "a", "1")]),
    ],
)
def test_parse(text: str, settings: list[tuple[str, str, str]]) -> None:
    found = units.parse("/x", text)
    assert [(it.section, it.key, it.value) for it in found] == settings
    assert {it.path for it in found} <= {"/x"}


def test_an_empty_setting_takes_back_those_before() -> None:
    text = "[Service]\nExecStart=a\nExecStartPre=b\nExecStart=\nExecStart=c\n[Unit]\nExecStart=d\n"
    found = units.listed(units.parse("", text), "Service", "Exec")
    assert [it.value for it in found] == ["b", "c"]


@pytest.mark.parametrize(
    ("texts", "links", "rows"),
    [
        ({f"{ETC}/data.mount": DATA}, [LINK], [ROW]),
        ({f"{ETC}/data.mount": DATA + INSTALL}, [], [ROW]),
        ({f"{USR}/data.mount": DATA}, [LINK], [ROW]),
        # Where systemctl set-property and portablectl write.
        ({"etc/systemd/system.control/data.mount": DATA + INSTALL}, [], [ROW]),
        (
            {"etc/systemd/system.attached/data.mount": DATA},
            ["etc/systemd/system.attached/x.target.wants/data.mount"],
            [ROW],
        ),
        (
            {
                f"{ETC}/data.mount": DATA + INSTALL,
                "etc/systemd/system.control/data.mount": "[Mount]\n",
            },
            [],
            [],
        ),
        (
            {
                f"{ETC}/data.mount": DATA + INSTALL,
                "etc/systemd/system.attached/data.mount": "[Mount]\n",
            },
            [],
            [ROW],
        ),
        # Nothing starts it.
        ({f"{ETC}/data.mount": DATA}, [], [ON_DEMAND]),
        ({f"{ETC}/data.mount": DATA, f"{ETC}/data.automount": INSTALL}, [], [ROW]),
        ({f"{ETC}/data.mount": DATA}, [f"{ETC}/x.target.wants/data.automount"], [ROW]),
        # The owner's file hides that of a package, and a link to /dev/null does so as well.
        ({f"{ETC}/data.mount": "[Mount]\n", f"{USR}/data.mount": DATA}, [LINK], []),
        ({f"{USR}/data.mount": DATA}, [LINK, f"{ETC}/data.mount"], []),
        (
            {
                f"{ETC}/data.mount": DATA,
                f"{ETC}/data.mount.d/2.conf": "[Mount]\nWhat=/dev/vdb\n",
                f"{ETC}/data.mount.d/1.conf": "[Mount]\nWhat=/dev/vdc\nOptions=ro\n",
                f"{USR}/data.mount.d/2.conf": "[Mount]\nWhat=/dev/vdd\n",
            },
            [LINK],
            [["/dev/vdb", "/data", "ext4", "ro"]],
        ),
        (
            {f"{ETC}/dev-vdb.swap": "[Swap]\nWhat=/dev/vdb\n[Install]\nWantedBy=swap.target\n"},
            [],
            [["/dev/vdb", "none", "swap", "defaults"]],
        ),
        (
            {
                f"{ETC}/srv.mount": "[Unit]\nRequiresMountsFor=/data\n[Mount]\nWhat=overlay\n"
                "Where=/srv\nType=overlay\nOptions=lowerdir=/data/l,x-systemd.automount\n"
            },
            [f"{ETC}/x.target.wants/srv.mount"],
            [
                [
                    "overlay",
                    "/srv",
                    "overlay",
                    "lowerdir=/data/l,x-systemd.requires-mounts-for=/data",
                ]
            ],
        ),
        ({f"{ETC}/data.service": DATA, "srv/data.mount": DATA}, [], []),
        # Without Where=, the name of the unit says where.
        (
            {rf"{ETC}/srv-my\x2ddata-\xc3\xbc.mount": WHAT},
            [rf"{ETC}/x.target.wants/srv-my\x2ddata-\xc3\xbc.mount"],
            [["/dev/vdb", "/srv/my-data/\u00fc", "mount", "defaults"]],
        ),
        ({f"{ETC}/-.mount": WHAT}, [], [["/dev/vdb", "/", "mount", "defaults,noauto"]]),
        (
            {f"{ETC}/data.mount": f"{WHAT}Where=\n"},
            [LINK],
            [["/dev/vdb", "/data", "mount", "defaults"]],
        ),
    ],
)
def test_units_as_lines_of_fstab(
    texts: dict[str, str], links: list[str], rows: list[list[str]]
) -> None:
    assert [it.row for it in units.Mounting(texts, [*texts, *links]).units()] == rows


def test_all_that_is_of_a_unit() -> None:
    paths = [
        *(f"{ETC}/data.mount", f"{ETC}/data.mount.d/1.conf", f"{ETC}/data.automount", LINK),
        *(f"{USR}/x.target.wants/data.automount", f"{ETC}/other.mount", f"{ETC}/a.service"),
    ]
    (unit,) = units.Mounting({paths[0]: DATA}, paths).units()
    assert unit.members == sorted(paths[:5])
    assert not unit.has_specifier
    (unit,) = units.Mounting({paths[0]: DATA.replace("6b5d", "%H")}, paths).units()
    assert unit.has_specifier
