# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a module returned in a test is as it documents, and passes what the control node keeps of it."""

from __future__ import annotations

import importlib.util
import pathlib
import typing as t

import yaml

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# The modules whose result the action of root_info keeps.
KEPT = (
    "root_info",
    *yaml.safe_load((_ROOT / "meta/runtime.yml").read_text())["plugin_routing"]["modules"],
)


def shows_differences(module: str) -> bool:
    """Say whether a module documents that it returns what it changed."""
    text = (_ROOT / f"plugins/modules/{module}.py").read_text()
    documented = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])
    fragments = documented.get("extends_documentation_fragment", [])
    own = documented.get("attributes", {}).get("diff_mode", {"support": "full"})
    return "sealedroot.image._attributes.info" not in fragments and own["support"] == "full"


def check(module: str, result: t.Mapping[str, t.Any], args: t.Mapping[str, t.Any]) -> None:
    """Fail when an honest result lacks a difference, or something of it would be dropped or refused."""
    changed = result.get("changed") and not result.get("failed")
    assert "diff" in result or not (changed and shows_differences(module))
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
