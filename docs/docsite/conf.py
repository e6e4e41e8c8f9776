# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Sphinx makes the documentation site of what antsibull-docs wrote: ./run docs."""

from __future__ import annotations

import typing as t

from docutils import nodes  # type: ignore[import-untyped]

project = "sealedroot.image"
author = "The sealedroot.image authors"
extensions = ["sphinx_antsibull_ext"]
html_theme = "alabaster"
html_copy_source = False
html_use_index = False
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
# Names of Python in a role's documentation are no links.
default_role = "any"

ANSIBLE = "https://docs.ansible.com/ansible/latest"
# Labels of Ansible's own documentation, which the generated pages refer to.
PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
    "connection_plugins": "plugins/connection.html",
    "playbooks_filters": "playbook_guide/playbooks_filters.html",
}


def address(label: str) -> str:
    """Return where Ansible's documentation has a label; an empty string for every other label."""
    if label in PAGES:
        return f"{ANSIBLE}/{PAGES[label]}"
    words = label.split(".", 3)
    if words[0] != "ansible_collections" or words[1:3] == ["sealedroot", "image"]:
        return ""
    return f"{ANSIBLE}/collections/{words[1]}/{words[2]}/{words[3].partition('__')[0]}.html"


def outside(_app: t.Any, _env: t.Any, node: t.Any, content: nodes.Node) -> nodes.Node | None:
    """Link a label of Ansible's documentation without fetching its inventory; Sphinx reports every other one."""
    found = address(str(node.get("reftarget", "")))
    return nodes.reference("", "", content, refuri=found, internal=False) if found else None


def setup(app: t.Any) -> None:
    """Register the event."""
    app.connect("missing-reference", outside)
