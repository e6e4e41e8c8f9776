# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile image prints in the place of a module: for each module an honest answer, and many that are not."""

from __future__ import annotations

import copy
import json
import typing as t

from ansible_collections.sealedroot.image.plugins.plugin_utils import _documented

Answer = dict[str, t.Any]

# What an honest value is where any text is not good enough.
_WORDS: dict[str, t.Any] = {
    "architecture": "x86_64",
    "family": "debian",
    "initramfs": "initramfs_tools",
    "kernels": ["6.1.0-1-amd64"],
    "kernel_disks": {"6.1.0-1-amd64": ["virtio_blk"]},
    "missing_packages": ["dracut"],
    "missing_growth_packages": ["fdisk"],
    "grub_platforms": ["x86_64-efi"],
    "grub_modules": {"x86_64-efi": ["luks"]},
    "os_release": {"ID": "debian", "PRETTY_NAME": "Debian"},
    "path": "/boot/initrd.img-6.1.0-1-amd64",
    "policy": "",
    "problems": [],
    "version": "6.1.0-1-amd64",
}
_EMPTY: dict[str, t.Any] = {"bool": True, "float": 1.5, "int": 7, "path": "/a", "str": "a"}
# Jinja's own words, in every way that Ansible has ever read them.
TEMPLATE = "{{{{ lookup('ansible.builtin.pipe', 'touch {canary}') }}}}"
ESCAPES = "a\x1b]0;title\x07\x1b[2J\x9b31m\r{{\u202e\u2028\x00\x7f"
TRAVERSAL = "../../../../../../../../var/tmp/evil"
# What cannot become a name.
WORDS = (
    *("../x", "a b", "-x", "a;id", "$(id)", "a\nb", "a\n", "", "é"),
    TEMPLATE,
    "a" * 200,
)
# Each is a variable of the collection, of core, or of a connection.
_VARIABLES = (
    *("image_root_tar", "image_builder", "image_root", "image_run", "family_debian_initramfs"),
    *("__family", "__source_families", "__image_python", "__image_publish_tasks", "image_source"),
    *(
        "ansible_connection",
        "ansible_host",
        "ansible_become",
        "ansible_become_exe",
        "ansible_remote_tmp",
    ),
    *("ansible_python_interpreter", "ansible_shell_executable", "ansible_ssh_common_args"),
    *("ansible_async_dir", "ansible_chroot_pipelining", "ansible_chroot_exe", "ansible_pipelining"),
    *("ansible_delegated_vars", "ansible_system_tmpdirs", "ansible_common_remote_group"),
    *("discovered_interpreter_python", "groups", "hostvars", "inventory_hostname", "vars"),
)
VARIABLES: Answer = dict.fromkeys(_VARIABLES, "/../../evil")
ORDERS: Answer = {
    "add_host": {"host_name": "evil", "groups": ["evil"], "host_vars": {"evil": 1}},
    "add_group": "evil",
    "parent_groups": ["all"],
    "ansible_stats": {"data": {"evil": 1}, "per_host": False, "aggregate": False},
    "unreachable": True,
    "failed_when_result": False,
    "attempts": 10**6,
    "retries": 10**6,
    "ansible_job_id": "1.2",
    "ansible_loop_var": "evil",
    "_ansible_notify": ["evil"],
    "_ansible_no_log": True,
    "_ansible_delegated_vars": {"ansible_delegated_host": "evil"},
    "_ansible_facts_cacheable": True,
    "_ansible_suppress_tmpdir_delete": True,
    "deprecations": [{"msg": ESCAPES, "version": "1", "collection_name": "a.b"}],
    "warnings": [ESCAPES, {"msg": 1}, None],
    "exception": ESCAPES,
}


def example(spec: t.Mapping[str, t.Any], args: t.Mapping[str, t.Any]) -> Answer:
    """Return an honest answer of what is documented."""
    return {
        key: _example(key, what, args)
        for key, what in spec.items()
        if _documented._must_be_there(what.get("returned", "always"), args)
    }


def _example(key: str, what: t.Mapping[str, t.Any], args: t.Mapping[str, t.Any]) -> t.Any:
    if what["type"] == "list":
        element = {**what, "type": what["elements"]}
        return (
            copy.deepcopy(_WORDS[key])
            if isinstance(_WORDS.get(key), list)
            else [_example(key, element, args)]
        )
    if "contains" in what:
        return example(what["contains"], args)
    if key in _WORDS and isinstance(_WORDS[key], dict if what["type"] == "dict" else str):
        return copy.deepcopy(_WORDS[key])
    if "choices" in what:
        return what["choices"][-1]
    return {} if what["type"] == "dict" else _EMPTY[what["type"]]


def strings(value: t.Any, text: str) -> t.Any:
    """Return the same value with *text* in the place of each string."""
    if isinstance(value, str):
        return text
    if isinstance(value, list):
        return [strings(it, text) for it in value]
    if isinstance(value, dict):
        return {name: strings(it, text) for name, it in value.items()}
    return value


def wrong(value: t.Any) -> t.Any:
    """Return the same value with every scalar and list of another type."""
    if isinstance(value, dict):
        return {key: wrong(it) for key, it in value.items()} if value else ["a"]
    if isinstance(value, list):
        return {"a": 1}
    return [value]


def tagged(value: t.Any, tags: t.Sequence[t.Any]) -> Answer:
    """Return a string as core itself sends one, with its marks."""
    return {"__ansible_type": "_AnsibleTaggedStr", "value": value, "tags": list(tags)}


def answers(honest: Answer, canary: str) -> dict[str, bytes]:
    """Return what a hostile image prints, by a name for each."""
    template = TEMPLATE.format(canary=canary)
    text = json.dumps(honest)
    trusted = tagged(template, [{"__ansible_type": "TrustedAsTemplate"}])
    event = {"__ansible_type": "Event", "msg": ESCAPES, "formatted_traceback": ESCAPES}
    variants: dict[str, t.Any] = {
        "honest": honest,
        "facts": {**honest, "ansible_facts": {**honest.get("ansible_facts", {}), **VARIABLES}},
        "facts_are_a_list": {**honest, "ansible_facts": ["image_root"]},
        "facts_are_null": {**honest, "ansible_facts": None},
        "orders": {**honest, **ORDERS},
        "unreachable": {"unreachable": True, "msg": ESCAPES},
        "skipped": {"skipped": True},
        "orders_in_a_loop": {**honest, "results": [{**ORDERS, "ansible_facts": VARIABLES}]},
        "results_are_text": {**honest, "results": template},
        "failed_is_text": {**honest, "failed": template},
        "failed": {
            "failed": True,
            "msg": f"{ESCAPES} {template}",
            "exception": ESCAPES,
            "rc": template,
        },
        "failed_with_an_object": {"failed": True, "msg": {"a": [template]}, "exception": [1]},
        "core_s_own_exception": {
            "failed": True,
            "msg": "a",
            "exception": {"__ansible_type": "ErrorSummary", "event": event},
        },
        "core_s_own_warning": {
            **honest,
            "warnings": [{"__ansible_type": "WarningSummary", "event": event}],
            "deprecations": [
                {"__ansible_type": "DeprecationSummary", "event": event, "version": ESCAPES}
            ],
        },
        "diff": {**honest, "diff": {"before": ESCAPES, "after": [template], "prepared": {"a": 1}}},
        "invocation": {**honest, "invocation": {"module_args": {template: template}}},
        "changed_is_an_object": {**honest, "changed": {"a": template}},
        "wrong_types": {**wrong(honest), "changed": False},
        "nothing": {},
        "null": None,
        "escapes": strings(honest, ESCAPES),
        "templates": strings(honest, template),
        "traversal": strings(honest, TRAVERSAL),
        "trusted_templates": strings_as(honest, trusted),
        "vault": strings_as(honest, {"__ansible_vault": template}),
        "unsafe": strings_as(honest, {"__ansible_unsafe": template}),
        "unknown_object": strings_as(
            honest, {"__ansible_type": "AnsibleSourcePosition", "value": template}
        ),
        "undocumented": {**honest, "evil": template, template: template, "x" * 100_000: 1},
        "half_characters": strings(honest, "\ud800"),
        "numbers": {**honest, "changed": 1e999, "rc": 10**400},
        "long": strings(honest, "a" * 10_000),
    }
    found = {name: json.dumps(it).encode() for name, it in variants.items()}
    evil = json.dumps({**honest, **ORDERS, "ansible_facts": VARIABLES})
    spread = "{\n" + evil[1:-1] + "\n}"
    junk = ESCAPES.replace("{", "") + template[1:]
    found.update(
        {
            "empty": b"",
            "no_json": junk.encode("utf-8", "replace"),
            "a_list": json.dumps([honest]).encode(),
            "twice": f"{text}\n{evil}".encode(),
            "twice_on_a_line": f"{text} {evil}".encode(),
            "duplicate_keys": (text[:-1] + ", " + evil[1:]).encode(),
            "junk_before": f"{junk}\n{evil}".encode("utf-8", "replace"),
            "junk_after": f"{evil}\n{junk}".encode("utf-8", "replace"),
            "on_many_lines": spread.encode(),
            "become": f"BECOME-SUCCESS-a\x0b{{junk}}\n{evil}".encode(),
            "become_and_a_line": f"\r\nBECOME-SUCCESS-{{\r\n{evil}".encode(),
            "other_ends_of_lines": evil.replace(", ", ",\x85").encode(),
            "not_utf8": text.encode()[:-1] + b', "a": "\xff\xfe"}',
            "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            "deep_in_a_value": text.encode()[:-1] + b', "a": ' + b"[" * 500 + b"]" * 500 + b"}",
            "many": json.dumps({**honest, **dict.fromkeys(map(str, range(100_000)), 1)}).encode(),
        }
    )
    return found


def strings_as(value: t.Any, it: Answer) -> t.Any:
    """Return the same value with an object in the place of each string."""
    if isinstance(value, str):
        return it
    if isinstance(value, list):
        return [strings_as(inner, it) for inner in value]
    if isinstance(value, dict):
        return {key: strings_as(inner, it) for key, inner in value.items()}
    return value
