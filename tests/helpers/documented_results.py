# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a module returned in a test has to pass what the control node keeps of it."""

from __future__ import annotations

import importlib.util
import pathlib
import typing as t

import yaml

_RUNTIME = pathlib.Path(__file__).resolve().parents[2] / "meta/runtime.yml"
# The modules whose result the action of root_info keeps.
KEPT = ("root_info", *yaml.safe_load(_RUNTIME.read_text())["plugin_routing"]["modules"])


def check(module: str, result: t.Mapping[str, t.Any], args: t.Mapping[str, t.Any]) -> None:
    """Fail when something of an honest result would be dropped or refused."""
    if module not in KEPT or result.get("failed"):
        return
    # It is code of the control node, and a builder that runs tests (tests/guest) has no such Ansible.
    if importlib.util.find_spec("ansible.errors") is None:
        return
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _documented

    kept = _documented.kept(module, result, args)
    same = {
        key: value for key, value in result.items() if key not in ("diff", "invocation", "warnings")
    }
    assert {key: value for key, value in kept.items() if key not in ("diff", "warnings")} == same
    diff = result.get("diff", [])
    shown = [{key: it for key, it in entry.items() if it} for entry in kept.get("diff", [])]
    assert shown == [
        {key: it for key, it in entry.items() if it}
        for entry in ([diff] if isinstance(diff, dict) else diff)
    ]
    assert len(kept.get("warnings", [])) == len(result.get("warnings", []))
