# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sealedroot.image.plugins.filter.encrypted_root import FilterModule

encrypted_root = FilterModule().filters()["encrypted_root"]


def test_device_and_words_are_those_of_the_generator() -> None:
    root = encrypted_root("u", "dracut")
    assert root["device"] == "/dev/mapper/luks-u"
    assert root["words"][0] == "rd.luks.uuid=luks-u"
    assert root["words"][-1] == "rd.emergency=reboot"
    assert encrypted_root("u", "initramfs_tools")["device"] == "/dev/mapper/cr_root"


def test_a_console_can_be_left_open() -> None:
    closed, opened = encrypted_root("u", "dracut"), encrypted_root("u", "dracut", True)
    assert opened["device"] == closed["device"]
    assert set(closed["words"]) - set(opened["words"]) == {
        *("panic=5", "sysctl.kernel.sysrq=0", "rd.shell=0", "rd.emergency=reboot")
    }


def test_an_unknown_generator_is_an_error_of_the_template() -> None:
    with pytest.raises(AnsibleFilterError, match="'' builds no initramfs that is known"):
        encrypted_root("u", "")
