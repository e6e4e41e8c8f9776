# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._fstab import crypttab, fstab

ROOT = "0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10"
OLD = """\
# the old machine
UUID=1111 / xfs defaults 0 1
UUID=2222 /boot ext4 defaults 0 2
LABEL=EFI /boot/efi vfat defaults 0 2
/dev/sda3 none swap sw 0 0
PARTUUID=33 /data ext4 defaults 0 2
tmpfs /tmp tmpfs size=1g 0 0
server:/home /home nfs ro 0 0
/srv/a /srv/b none bind 0 0
"""


def make(text: str):
    return fstab(text, root_uuid=ROOT, filesystem="ext4", esp_label="ESP")


def test_an_empty_table_gets_root_and_esp():
    table, dropped = make("")
    assert table.splitlines() == [
        f"UUID={ROOT} / ext4 errors=remount-ro 0 1",
        "LABEL=ESP /boot/efi vfat umask=0077,nofail 0 2",
    ]
    assert dropped == []


def test_the_old_machines_disks_go_and_the_rest_stays():
    table, dropped = make(OLD)
    assert [line.split()[1] for line in dropped] == ["/", "/boot", "/boot/efi", "none", "/data"]
    for kept in ("# the old machine", "tmpfs /tmp", "server:/home", "/srv/a /srv/b"):
        assert kept in table
    assert "sda3" not in table


def test_a_second_run_changes_nothing():
    table, _dropped = make(OLD)
    again, dropped = make(table)
    assert again == table
    assert dropped == []


def entry(text: str):
    return crypttab(text, name="cr_root", luks_uuid="u", key_file="/k", options="luks,initramfs")


def test_crypttab_has_the_root_alone():
    table, dropped = entry("# <target name>\nold UUID=9 none luks\n")
    assert table == "# <target name>\ncr_root UUID=u /k luks,initramfs\n"
    assert dropped == ["old UUID=9 none luks"]
    assert entry(table) == (table, [])


@pytest.mark.parametrize("filesystem", ["btrfs", "xfs"])
def test_what_checks_itself_is_not_checked_at_boot(filesystem: str) -> None:
    table, _dropped = fstab("", root_uuid=ROOT, filesystem=filesystem, esp_label="ESP")
    assert table.splitlines()[0] == f"UUID={ROOT} / {filesystem} defaults 0 0"
