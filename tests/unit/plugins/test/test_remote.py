# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.test.remote import TestModule as Plugin


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ansible_connection": "local"}, False),
        ({"ansible_connection": "ansible.builtin.local"}, False),
        ({"ansible_connection": "ssh"}, True),
        ({"ansible_connection": "smart"}, True),
        ({"ansible_host": "192.0.2.7"}, True),
    ],
)
def test_a_host_is_remote_unless_its_connection_is_local(variables, expected):
    assert Plugin().tests()["remote"](variables) is expected
