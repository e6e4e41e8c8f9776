# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a command in an image prints, as core then reads it."""

from __future__ import annotations

import json
import random
import typing as t

import hostile_answers
import pytest
from ansible.errors import AnsibleError
from ansible.plugins import action
from ansible.vars.clean import namespace_facts
from ansible_collections.sealedroot.image.plugins.plugin_utils import _answers

ALLOWED_FACTS = {"ansible_distribution": "Debian", "ansible_devices": {"a": [{"b": "1"}]}}


class Reader(action.ActionBase):
    """Core's own way from what was printed to a result."""

    def __init__(self) -> None:
        self._used_interpreter = None

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> dict[str, t.Any]:
        raise NotImplementedError


class Quiet:
    """Core's display; it would show a warning for each piece of junk."""

    def warning(self, _text: str) -> None:
        pass


def read(stdout: bytes) -> dict[str, t.Any]:
    """Return what core makes of it."""
    reader = Reader()
    text = reader._strip_success_message(stdout.decode("utf-8", "surrogateescape"))
    found = reader._parse_returned_data({"stdout": text, "stderr": "", "rc": 0}, "legacy")
    return dict(found if isinstance(found, dict) else found.as_result_dict(for_round_trip=True))


def plain(result: t.Any) -> t.Any:
    return json.loads(_answers.plain(json.dumps(result).encode()))


@pytest.mark.parametrize(
    "stdout",
    [
        *(b"", b"text\n", b"{ not JSON }\n", b'["a"]\n', b"\x00\xff{\n", b'{"a": 1}{"b": 2}'),
        *(
            b'{"a": 1, "failed": false}\n',
            b'log\n{"level": "info"}\nlog\n',
            b'{\n "a": "\\u00e9"\n}\n',
        ),
        b'{"cmd": ["a"], "stdout": "x\\ty\\r\\n", "rc": 0, "changed": true, "invocation": {"module_args": {}}}',
    ],
)
def test_what_is_harmless_passes_unchanged(stdout: bytes) -> None:
    assert _answers.plain(stdout) == stdout


@pytest.mark.parametrize(
    "key", sorted(hostile_answers.ORDERS.keys() - {"exception", "parent_groups", "warnings"})
)
def test_a_key_that_core_obeys_is_dropped(key: str) -> None:
    value = hostile_answers.ORDERS[key]
    assert plain({"a": 1, key: value}) == {"a": 1}
    assert plain({"a": 1, "results": [{"b": 2, key: value}]}) == {"a": 1, "results": [{"b": 2}]}


@pytest.mark.parametrize(
    "name",
    [
        *hostile_answers.VARIABLES,
        *(
            "ansible_user",
            "ansible_network_os",
            "ansible_eth0",
            "ansible_facts",
            "ansible_play_hosts",
        ),
        *(
            "a\nb",
            "packages_python",
            "getent_x\n",
            "ansible_ssh_host_key_x_public\n",
            "Ansible_env",
        ),
    ],
)
def test_a_variable_that_is_not_the_image_s_own_is_dropped(name: str) -> None:
    found = plain({"ansible_facts": {**ALLOWED_FACTS, name: 1}})
    assert found["ansible_facts"] == ALLOWED_FACTS
    said = " ".join(found.get("warnings", []))
    assert (name in said) == (name.isidentifier())
    nested = plain({"results": [{"ansible_facts": {name: 1}}]})
    assert nested["results"][0]["ansible_facts"] == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("ansible_pkg_mgr", "../x"), ("ansible_service_mgr", "shell"), ("ansible_pkg_mgr", ["apt"])],
)
def test_the_name_of_a_module_is_one_of_a_list(name: str, value: t.Any) -> None:
    assert plain({"ansible_facts": {name: value}})["ansible_facts"] == {}
    assert plain({"ansible_facts": {name: "unknown"}})["ansible_facts"] == {name: "unknown"}


@pytest.mark.parametrize(
    "name", ["gather_subset", "getent_passwd", "mount_points", "packages", "services"]
)
def test_a_fact_is_no_variable_of_a_role(name: str) -> None:
    """Core makes a variable of every fact, and one called packages is a default of many a role."""
    found = plain({"ansible_facts": {name: {"a": 1}}})
    assert found["ansible_facts"] == {f"ansible_{name}": {"a": 1}}
    assert namespace_facts(found["ansible_facts"])["ansible_facts"] == {name: {"a": 1}}


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("ansible_os_family", "Debian", True),
        ("ansible_os_family", "../../tasks_evil", False),
        ("ansible_os_family", "/etc/evil", False),
        ("ansible_os_family", "..", False),
        ("ansible_os_family", "~root", False),
        ("ansible_os_family", "a/b", False),
        ("ansible_distribution", "Kali GNU/Linux", True),
        ("ansible_distribution_version", "12.4", True),
        ("ansible_distribution_file_parsed", True, True),
        ("ansible_distribution_file_path", "/etc/os-release", True),
        ("ansible_distribution_file_path", "/etc/../evil", False),
        ("ansible_distribution_file_path", "etc/os-release", False),
        ("ansible_architecture", "../x", False),
        ("ansible_kernel", ["../x"], False),
        ("ansible_lsb", {"id": "Debian", "description": "Debian GNU/Linux 12 (bookworm)"}, True),
        ("ansible_lsb", {"id": "../x"}, False),
        ("ansible_hostname", "../x", False),
        ("ansible_env", {"PATH": "../bin:/bin"}, True),
    ],
)
def test_what_roles_name_files_by_leads_nowhere_else(name: str, value: t.Any, right: bool) -> None:
    assert plain({"ansible_facts": {name: value}})["ansible_facts"] == (
        {name: value} if right else {}
    )


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_facts_that_are_no_dict_are_dropped(value: t.Any) -> None:
    assert plain({"a": 1, "ansible_facts": value}) == {"a": 1}


def test_every_fact_of_setup_on_this_machine_passes_but_devices_of_the_network() -> None:
    from ansible.module_utils.facts import ansible_collector, default_collectors
    from ansible.module_utils.facts.namespace import PrefixFactNamespace

    collector = ansible_collector.get_ansible_collector(
        all_collector_classes=default_collectors.collectors,
        namespace=PrefixFactNamespace(namespace_name="ansible", prefix="ansible_"),
        gather_subset=["all", "!facter", "!ohai", "!hardware"],
    )

    class Module:
        params: t.ClassVar = {
            "fact_path": "/nowhere",
            "gather_timeout": 10,
            "gather_subset": ["all"],
        }

        def __getattr__(self, name: str) -> t.Any:
            return lambda *args, **_kwargs: (1, "", "") if name == "run_command" else None

    found = collector.collect(module=Module())
    devices = {f"ansible_{name}".replace("-", "_") for name in found.get("ansible_interfaces", [])}
    dropped = {name for name in found if not _answers._is_fact(name, found[name])}
    assert dropped - devices <= {"ansible_pkg_mgr", "ansible_service_mgr"}
    assert len(found) > 40


def test_what_a_terminal_obeys_is_replaced_in_values_and_keys() -> None:
    text = json.dumps(
        plain({hostile_answers.ESCAPES: [hostile_answers.ESCAPES], "stdout": "a\tb\r\nc\n"})
    )
    assert plain({"stdout": "a\tb\r\nc\n"}) == {"stdout": "a\tb\r\nc\n"}
    assert not {"\\u001b", "\\u0000", "\\u009b", "\\u202e", "\\u2028", "\\r{"} & set(text.split())
    for mark in (
        "\\u001b",
        "\\u0000",
        "\\u0007",
        "\\u009b",
        "\\u202e",
        "\\u2028",
        "\\u007f",
        "\\r{",
    ):
        assert mark not in text


def test_junk_around_a_harmless_result_cannot_reach_a_terminal() -> None:
    assert b"\x1b" not in _answers.plain(b'a\x1b[2J\n{"a": 1}\nb\x1b[2J')


def test_of_other_output_only_what_a_terminal_obeys_is_replaced() -> None:
    same = "a\tb\r\n\x00\x1f\u00e9\u20ac".encode() + b"\xff\xe9"
    assert _answers.shown(same) == same
    assert _answers.shown(b"\x9b31m") == "\ufffd31m".encode()
    found = _answers.shown(hostile_answers.ESCAPES.encode()).decode()
    assert found == "a\ufffd]0;title\ufffd\ufffd[2J\ufffd31m\ufffd{{\ufffd\ufffd\x00\ufffd"


@pytest.mark.parametrize(
    "sign", [*map(chr, range(32)), "\x7f", "\x9b", "\u202e", "\u2028", "\udc9b"]
)
@pytest.mark.parametrize(
    "form",
    [
        '{{"a": "{0}", "ansible_facts": {{"image_root": "/evil"}}}}',
        '{0}{{"a": 1}}\n{{"ansible_facts": {{"image_root": "/evil"}}}}',
        '{{"a": 1}}{0}\n{{"ansible_facts": {{"image_root": "/evil"}}}}',
        '{{"a": 1, {0}"ansible_facts": {{"image_root": "/evil"}}}}',
    ],
)
def test_what_core_reads_is_what_was_judged(form: str, sign: str) -> None:
    """No sign that is replaced may make a result of what was none when it was judged."""
    printed = form.format(sign)
    once = _answers.plain(printed.encode("utf-8", "surrogateescape"))
    for text in (
        once.decode("utf-8", "surrogateescape"),
        _answers.without_orders({"stdout": printed})["stdout"],
        _answers.without_orders({"stdout": once.decode("utf-8", "surrogateescape")})["stdout"],
    ):
        read = _answers.parsed(text) or {}
        assert read.get("ansible_facts", {}) == {}


def test_an_object_of_core_becomes_the_text_in_it() -> None:
    event = {"__ansible_type": "Event", "msg": "said"}
    found = plain(
        {
            "a": hostile_answers.tagged("b", []),
            "c": {"__ansible_type": "TrustedAsTemplate"},
            "d": {"__ansible_vault": "x", "_ansible_y": 1, "z": 2},
            "warnings": [{"__ansible_type": "WarningSummary", "event": event}, "text", 1],
            "exception": {"__ansible_type": "ErrorSummary", "event": event},
        }
    )
    assert found == {"a": "b", "c": None, "d": {"z": 2}, "warnings": ["said", "text"]}


@pytest.mark.parametrize("depth", [64, 500, 100_000])
def test_what_is_nested_too_deep_is_refused_with_a_sentence(depth: int) -> None:
    with pytest.raises(AnsibleError, match="nested more than 64 levels deep"):
        _answers.plain(b'{"a":' + b"[" * depth + b"]" * depth + b"}")
    assert _answers.plain(b'{"a":' + b"[" * 62 + b"]" * 62 + b"}")
    assert _answers.plain(b'{"a":' * depth) == b'{"a":' * depth


def test_more_json_than_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_answers, "MOST_BYTES", 1 << 20)
    with pytest.raises(AnsibleError, match="printed more than 1 MiB of JSON"):
        _answers.plain(b'{"a": "' + b"a" * (1 << 20) + b'"}')
    text = b"a" * (2 << 20)
    assert _answers.plain(text) == text


def is_harmless(result: t.Mapping[str, t.Any]) -> bool:
    facts = result.get("ansible_facts") or {}
    return not (
        hostile_answers.ORDERS.keys() - {"exception", "parent_groups", "warnings"}
    ) & result.keys() and not (hostile_answers.VARIABLES.keys() & facts.keys())


def test_core_never_reads_an_order_in_what_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever way of printing it is found: core and this read the same."""
    monkeypatch.setattr(action, "display", Quiet())
    evil = json.dumps({**hostile_answers.ORDERS, "ansible_facts": hostile_answers.VARIABLES})
    pieces = [
        *(
            evil,
            evil,
            '{"a": 1}',
            "{",
            "}",
            "[",
            "]",
            "BECOME-SUCCESS-x",
            " ",
            "\t",
            "\\",
            '"',
            "junk",
        ),
        *(
            "\n",
            "\n",
            "\n",
            "\r\n",
            "\r",
            "\x0b",
            "\x0c",
            "\x1c",
            "\x85",
            "\u2028",
            "\ufeff",
            "\x00",
            "\udcff",
        ),
    ]
    dice = random.Random(15)
    obeyed = 0
    for _round in range(4000):
        text = "".join(dice.choice(pieces) for _piece in range(dice.randrange(1, 9)))
        stdout = text.encode("utf-8", "surrogateescape")
        obeyed += not is_harmless(read(stdout))
        try:
            passed = _answers.plain(stdout)
        except AnsibleError:
            continue
        assert is_harmless(read(passed)), stdout
    # Without the filter core would have obeyed.
    assert obeyed > 100
