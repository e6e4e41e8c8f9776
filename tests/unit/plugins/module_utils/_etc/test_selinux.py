# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a policy's configuration and setfiles say."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc import selinux
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@pytest.mark.parametrize(
    ("text", "mode", "kind"),
    [
        ("", "", "targeted"),
        ("SELINUX=permissive\nSELINUXTYPE=default\n", "permissive", "default"),
        # As libselinux reads it: the first mode that it knows, and the last type.
        ("SELINUX=maybe\nSELINUX= Enforcing\nSELINUX=disabled\n", "enforcing", "targeted"),
        ("SELINUXTYPE=mls\n  SELINUXTYPE=default \t\n", "", "default"),
        ("# SELINUX=enforcing\n#SELINUXTYPE=mls\n SELINUX=enforcing\n", "", "targeted"),
        ("SELINUX=disabled # for now\r\nSELINUXTYPE=targeted\r\n", "disabled", "targeted"),
    ],
)
def test_config(text: str, mode: str, kind: str) -> None:
    config = selinux.parse_config(text)
    assert (config.mode, config.type) == (mode, kind)
    assert config.active == (mode in ("enforcing", "permissive"))


@pytest.mark.parametrize("kind", ["../../etc", "", ".", "a/b", "-r"])
def test_a_type_that_is_no_directory(kind: str) -> None:
    with pytest.raises(SealedRootError, match="names no directory in /etc/selinux"):
        selinux.parse_config(f"SELINUXTYPE={kind}\n")


def test_the_newest_policy_counts() -> None:
    assert selinux.newest_policy(["policy.9", "policy.33", "policy.33.rpmnew"]) == "policy.33"
    assert selinux.newest_policy(["policy", "*"]) == ""


def test_the_plan_of_either_libselinux() -> None:
    text = """\
Would relabel / from <no context> to system_u:object_r:root_t:s0
Would relabel /etc/shadow from (null) to system_u:object_r:shadow_t:s0
Would relabel /a from b to c from system_u:object_r:etc_t:s0:c0.c1023 to system_u:object_r:usr_t:s0
Would relabel /without a level from user_u:object_r:x_t to user_u:object_r:y_t
Would relabel /two
lines from <no context> to system_u:object_r:etc_t:s0
setfiles: something else
"""
    assert selinux.parse_plan(text) == {
        "/": "system_u:object_r:root_t:s0",
        "/etc/shadow": "system_u:object_r:shadow_t:s0",
        "/a from b to c": "system_u:object_r:usr_t:s0",
        "/without a level": "user_u:object_r:y_t",
        "/two\nlines": "system_u:object_r:etc_t:s0",
    }


def test_types() -> None:
    assert selinux.type_of("system_u:object_r:shadow_t:s0") == "shadow_t"
    assert selinux.type_of("system_u:object_r:shadow_t") == "shadow_t"
    assert selinux.type_of("nonsense") == ""
