# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An input that is true or false is a word when it comes from the command line, and "false" is true for Jinja."""

from __future__ import annotations

import pathlib
import re

from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

ROOT = pathlib.Path(__file__).resolve().parents[3]
SWITCHES = [name for name, it in _inputs.options().items() if it.get("type") == "bool"]
FILES = [
    path
    for folder in ("roles", "playbooks", "examples")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".yml", ".j2") and not {"meta", "defaults"} & set(path.parts)
]


def test_each_is_read_as_one_or_given_to_a_module_that_does() -> None:
    assert "image_debug_console" in SWITCHES
    for path in FILES:
        for line in path.read_text().splitlines():
            expressions = "".join(re.findall(r"{[{%].*?[%}]}|when: .*|that: .*", line))
            for name in SWITCHES:
                if not re.search(rf"\b{name}\b", expressions):
                    continue
                given = re.fullmatch(rf' +\w+: "{{{{ {name} }}}}"', line)
                assert given or re.search(rf"\b{name} \| bool\b", line), (path, line)
