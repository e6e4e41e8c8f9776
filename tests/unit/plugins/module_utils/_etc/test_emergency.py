# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a boot that fails ends."""

from __future__ import annotations

import configparser
import pathlib
import stat

from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree


def planned(root: pathlib.Path, *, debug_console: bool) -> Tree:
    tree = Tree(str(root))
    emergency.plan(tree, debug_console=debug_console)
    return tree


def test_nothing_is_left_of_sulogin_and_the_machine_restarts(tmp_path: pathlib.Path) -> None:
    tree = planned(tmp_path, debug_console=False)
    assert tree.changed() == sorted(emergency.FILES)
    tree.apply()
    for name in ("emergency", "rescue"):
        path = tmp_path / f"etc/systemd/system/{name}.service.d/sealedroot.conf"
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        lines = path.read_text().splitlines()
        service = lines[lines.index("[Service]") + 1 :]
        # An empty assignment takes what the distribution starts away (systemd.service(5)).
        assert service == [
            "ExecStartPre=",
            "ExecStart=",
            "ExecStart=-/usr/bin/systemctl --force --force reboot",
            "ExecStopPost=",
        ]


def test_a_console_cannot_send_the_keys_of_sysrq(tmp_path: pathlib.Path) -> None:
    planned(tmp_path, debug_console=False).apply()
    # The last of all files in sysctl.d has the last word, and names are sorted as bytes (sysctl.d(5)).
    path = tmp_path / "etc/sysctl.d/zzzz-sealedroot.conf"
    settings = configparser.ConfigParser()
    settings.read_string("[x]\n" + path.read_text())
    assert dict(settings["x"]) == {"kernel.sysrq": "0"}
    assert path.name > "99-sysctl.conf"


def test_a_second_run_changes_nothing(tmp_path: pathlib.Path) -> None:
    planned(tmp_path, debug_console=False).apply()
    assert planned(tmp_path, debug_console=False).changed() == []


def test_an_open_console_takes_them_away(tmp_path: pathlib.Path) -> None:
    assert planned(tmp_path, debug_console=True).changed() == []
    planned(tmp_path, debug_console=False).apply()
    tree = planned(tmp_path, debug_console=True)
    assert tree.changed() == sorted(emergency.FILES)
    tree.apply()
    assert not [path for path in tmp_path.rglob("*sealedroot*") if path.is_file()]
