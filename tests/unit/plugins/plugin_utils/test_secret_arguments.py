# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which arguments are secrets, and when core would write them to a file: its own plugins say it."""

from __future__ import annotations

import ast
import contextlib
import json
import pathlib
import typing as t

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader, become_loader, connection_loader
from ansible_collections.sealedroot.image.plugins.plugin_utils._secret_arguments import (
    MASK,
    SECRETS,
    hidden,
    masked,
    piped,
)

# Its names are made when it is loaded.
CORE: t.Any = constants
PLUGINS = pathlib.Path(__file__).parents[4] / "plugins"
PROBE = (PLUGINS / "module_utils" / "_build" / "published.py", *(PLUGINS / "modules").glob("*.py"))
KEY = {"keys": [{"name": "boot.key", "content": "x" * 20}]}


def options_with_no_log(path: pathlib.Path) -> set[str]:
    """Name the options of a module that have no_log, from its source."""
    return {
        str(name.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        for name, spec in zip(node.keys, node.values, strict=True)
        if isinstance(name, ast.Constant) and isinstance(spec, ast.Dict)
        if any(
            isinstance(key, ast.Constant)
            and key.value == "no_log"
            and ast.literal_eval(value) is True
            for key, value in zip(spec.keys, spec.values, strict=True)
        )
    }


def test_every_secret_option_is_known() -> None:
    """One that is not would be written to a disk where nobody pipelines."""
    found = set().union(*(options_with_no_log(path) for path in PROBE))
    assert found == SECRETS


@pytest.mark.parametrize(
    "name",
    sorted(
        path.stem
        for path in PROBE
        if path.stem != "published"
        and (options_with_no_log(path) or "published.SECRET_INPUTS" in path.read_text())
    ),
)
def test_every_module_with_secrets_has_an_action_that_guards_them(name: str) -> None:
    routing = yaml.safe_load((PLUGINS.parent / "meta" / "runtime.yml").read_text())
    routed = routing["plugin_routing"]["modules"].get(name, {}).get("action_plugin", name)
    source = (PLUGINS / "action" / f"{routed.rpartition('.')[2]}.py").read_text()
    assert "SecretAction)" in source or "piped(self)" in source


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ({}, False),
        ({"path": "/run/keys", "state": "absent"}, False),
        ({"keys": [{"name": "boot.key"}]}, False),
        ({"keys": [{"name": "build.key"}, {"name": "boot.key", "content": "x"}]}, True),
        ({"mac": {"key": "boot.key", "root_password_hash": "", "customize": []}}, False),
        ({"mac": {"key": "boot.key", "root_password_hash": "", "customize": ["ab"]}}, True),
        ({"secret_inputs": {"boot_key": "", "recovery_passphrase": ""}}, False),
        ({"secret_inputs": {"boot_key": "", "recovery_passphrase": "x"}}, True),
        ({"hostname": "web-1", "root_password_hash": None}, False),
        ({"hostname": "web-1", "root_password_hash": "$6$a$b"}, True),
        ({"url": "https://example.org/root.tar"}, False),
        ({"url": "https://me:secret@example.org/root.tar"}, True),
        ({"url": "https://example.org/root.tar?token=1"}, True),
        (
            {"url": "https://example.org/a", "signature": "https://example.org/a.sig?token=1"},
            True,
        ),
        # As text, which the module takes too.
        ({"mac": json.dumps({"key": "boot.key", "root_password_hash": "$6$a$b"})}, True),
        ({"mac": "key=boot.key image=web root_password_hash=$6$a$b"}, True),
        ({"keys": ["{'name': 'boot.key', 'content': 'x'}"]}, True),
        ({"keys": "{'name': 'boot.key'}", "path": "/srv/content/keys"}, False),
    ],
)
def test_secrets_are_found_in_arguments(arguments: dict[str, t.Any], given: bool) -> None:
    shown = masked(arguments)
    assert (shown != arguments) is given
    assert (MASK in json.dumps(shown)) is given


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            {"path": "/k", "keys": [{"name": "build.key"}, {"name": "boot.key", "content": "x"}]},
            {"path": "/k", "keys": [{"name": "build.key"}, {"name": "boot.key", "content": MASK}]},
        ),
        (
            {"mac": {"key": "boot.key", "customize": ["a", "b"], "root_password_hash": ""}},
            {"mac": {"key": "boot.key", "customize": MASK, "root_password_hash": ""}},
        ),
        (
            {"url": "https://me@example.org", "checksum": "sha256:1", "signature": None},
            {"url": MASK, "checksum": "sha256:1", "signature": None},
        ),
    ],
)
def test_only_secrets_are_masked(arguments: dict[str, t.Any], shown: dict[str, t.Any]) -> None:
    assert masked(arguments) == shown


def make_action(
    connection: str = "ansible.builtin.ssh",
    become: str = "",
    variables: dict[str, t.Any] | None = None,
    arguments: dict[str, t.Any] | None = None,
    asynchronous: int = 0,
) -> ActionBase:
    """Return the action of a task, with plugins as core makes them."""
    plugin = connection_loader.get(connection, PlayContext())
    plugin.set_options(var_options=variables or {})
    if become:
        plugin.set_become_plugin(become_loader.get(become))
    task = Task()
    task.action = "sealedroot.image.key_store"
    task.args = KEY if arguments is None else arguments
    task.async_val = asynchronous
    action: ActionBase = action_loader.get(
        task.action,
        task=task,
        connection=plugin,
        play_context=PlayContext(),
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )
    return action


def run(action: ActionBase) -> None:
    """Let an action run its module, which is told to be a mistake."""
    with piped(action):
        pytest.fail("the module would have run")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"connection": "ansible.builtin.local"},
        {"variables": {"ansible_pipelining": False}},
        {"connection": "ansible.builtin.local", "variables": {"ansible_pipelining": False}},
        {"become": "ansible.builtin.sudo"},
        {
            "connection": "sealedroot.image.chroot",
            "variables": {"ansible_chroot_pipelining": False},
        },
        # The plugin for images keeps it for the builder; no module is written there.
        {"connection": "sealedroot.image.chroot", "become": "ansible.builtin.su"},
    ],
    ids=str,
)
def test_core_pipelines_because_it_is_told_to(settings: dict[str, t.Any]) -> None:
    action = make_action(**settings)
    with piped(action):
        assert action._is_pipelining_enabled("new")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"become": "ansible.builtin.su"}, "'su' gives a module no standard input: use another"),
        (
            {"connection": "ansible.builtin.local", "become": "ansible.builtin.su"},
            "'su' gives a module no standard input: use another",
        ),
        (
            {"connection": "ansible.builtin.paramiko_ssh"},
            "the connection '.*paramiko.*' gives a module no standard input: use ssh or local",
        ),
        ({"asynchronous": 60}, "the task has async: take it out"),
        ({"variables": {"ansible_ssh_extra_args": "-t"}}, "ssh is told to make a terminal"),
        (
            {"variables": {"ansible_ssh_common_args": "-o RequestTTY=force"}},
            "ssh is told to make a terminal",
        ),
    ],
    ids=str,
)
def test_where_core_would_write_a_file_it_is_refused(
    settings: dict[str, t.Any], reason: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=f"key_store to a file, because {reason}"):
        run(make_action(**settings))


def test_files_that_are_to_stay_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CORE, "DEFAULT_KEEP_REMOTE_FILES", True)
    with pytest.raises(AnsibleActionFail, match="ANSIBLE_KEEP_REMOTE_FILES is set: unset it"):
        run(make_action())


def test_what_nobody_knows_of_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Core decides; the reasons only explain."""
    action = make_action()
    monkeypatch.setattr(action._connection, "is_pipelining_enabled", lambda _detached=False: False)
    with pytest.raises(AnsibleActionFail, match="no standard input here"):
        run(action)


def test_a_connection_without_the_option_is_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    action = make_action()
    monkeypatch.setattr(action._connection, "has_option", lambda _name: False)
    monkeypatch.setattr(action._connection, "get_option", {}.__getitem__)
    monkeypatch.setattr(action._connection, "_is_tty_requested", lambda: False)
    with piped(action):
        assert action._is_pipelining_enabled("new")


def test_without_secrets_nothing_is_refused_or_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CORE, "DEFAULT_DEBUG", True)
    with piped(make_action(become="ansible.builtin.su", arguments={"path": "/run/keys"})):
        assert CORE.DEFAULT_DEBUG


@pytest.mark.parametrize(("follows", "refused"), [(True, True), ("yes", True), ("no", False)])
def test_secrets_that_follow_are_refused_as_well(follows: t.Any, refused: bool) -> None:
    action = make_action(become="ansible.builtin.su", arguments={"secrets_follow": follows})
    with pytest.raises(AnsibleActionFail) if refused else contextlib.nullcontext(), piped(action):
        assert not refused


def test_callbacks_get_the_task_without_secrets() -> None:
    action = make_action()
    for _attempt in range(2):
        with piped(action):
            assert action._task.args == KEY
        assert action._task.args == {"keys": [{"name": "boot.key", "content": MASK}]}
    action = make_action(asynchronous=60)
    with pytest.raises(AnsibleActionFail):
        run(action)
    assert action._task.args == {"keys": [{"name": "boot.key", "content": MASK}]}


def test_debug_output_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CORE, "DEFAULT_DEBUG", True)
    with piped(make_action()):
        assert not CORE.DEFAULT_DEBUG
    assert CORE.DEFAULT_DEBUG
    with pytest.raises(RuntimeError), hidden():
        raise RuntimeError
    assert CORE.DEFAULT_DEBUG
