# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets of a build or a rotation are in no file and no output, whatever Ansible is told; or nothing is begun."""

from __future__ import annotations

import base64
import inspect
import json
import pathlib
import secrets
import typing as t

import pytest
import secret_traces
from ansible.plugins.connection import local
from ansible_collections.sealedroot.image.plugins.lookup.customize_steps import digest
from builds import PLAYBOOK, Place, Run, playbook
from named_root import WHOLE, small_root

# What core's plugin for this machine does, and a copy of every file that it transfers.
RECORDING = """

def _recording(put):
    def put_file(self, in_path, out_path):
        import tempfile
        handle, _path = tempfile.mkstemp(dir=os.environ["TRANSFERRED"])
        with open(in_path, "rb") as file, os.fdopen(handle, "wb") as copy:
            copy.write(file.read())
        return put(self, in_path, out_path)
    return put_file

Connection.put_file = _recording(Connection.put_file)
"""
# Whatever a callback is given: the arguments of each task, and each result.
CALLBACK = '''
DOCUMENTATION = """
name: recorder
type: aggregate
short_description: Record
description: Records.
"""
import os
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "recorder"

    def _record(self, *what):
        with open(os.environ["CALLED_BACK"], "a") as file:
            file.write(f"{what!r}\\n")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._record(task.name, task.args, task.dump_attrs())

    def v2_runner_on_ok(self, result):
        self._record(result.result, result.task.args)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._record(result.result, result.task.args)
'''
# As much as Ansible can say, in every place that it can say it.
LOUD = {
    "ANSIBLE_DEBUG": "true",
    "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "true",
    "ANSIBLE_CALLBACKS_ENABLED": "recorder",
    "ANSIBLE_CACHE_PLUGIN": "jsonfile",
    "ANSIBLE_TARGET_LOG_INFO": "a build",
}


class Secrets:
    """The secrets of an image, and how a play gets them."""

    def __init__(self, path: pathlib.Path) -> None:
        self.given = {
            "image_boot_key": base64.b64encode(secrets.token_bytes(33)).decode(),
            "image_recovery_passphrase": f"{secrets.token_hex(8)} is what I say",
            "image_root_password_hash": f"$6$abcdefgh$8{secrets.token_hex(40)}Q.ab/",
        }
        tasks = path / "tasks.yml"
        tasks.write_text(f"# {secrets.token_hex(16)}\n[]\n")
        step = {"tasks": str(tasks)}
        self.variables = {**self.given, "image_customize": [step]}
        found = {**self.given, "digest of the tasks": digest(step, tasks)}
        self.needles = secret_traces.needles({name: it.encode() for name, it in found.items()})


class Watched:
    """Plays whose files and output are kept: ``play(name, **environment)``."""

    def __init__(self, place: Place) -> None:
        self.place = place
        # What a play leaves, with the files that it transferred and removed.
        self.seen = place.path / "seen"
        plugins = place.path / "plugins"
        for folder in (self.seen / "transferred", self.seen / "home", plugins):
            folder.mkdir(parents=True)
        self.given = Secrets(place.path)
        # A remote builder is any that is not reached by the plugin of that name.
        for name in ("local", "elsewhere"):
            (plugins / f"{name}.py").write_text(inspect.getsource(local) + RECORDING)
        (plugins / "recorder.py").write_text(CALLBACK)
        self.environment = {
            "ANSIBLE_CONNECTION_PLUGINS": str(plugins),
            "ANSIBLE_CALLBACK_PLUGINS": str(plugins),
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.seen / "facts"),
            "ANSIBLE_LOG_PATH": str(self.seen / "log"),
            "ANSIBLE_PIPELINING": "false",
            "CALLED_BACK": str(self.seen / "called_back"),
            "HOME": str(self.seen / "home"),
            "TRANSFERRED": str(self.seen / "transferred"),
        }

    def play(self, name: str, *arguments: str, **environment: str) -> Run:
        vault = self.place.path / "vault.json"
        vault.write_text(json.dumps(self.given.variables))
        variables = self.place.variables(
            image_source={"type": "tar", "path": f"{self.place.path}/root.tar"},
            control=(self.place.path / "control").read_text(),
        )
        run = playbook(
            name,
            variables,
            "--extra-vars",
            f"@{vault}",
            *arguments,
            environment={**self.environment, **environment},
        )
        (self.seen / "output").write_text(run.output)
        return run

    def traces(self, wanted: t.Mapping[bytes, str]) -> list[str]:
        return [
            f"{path.relative_to(self.seen)}: {what}"
            for path in self.seen.rglob("*")
            if path.is_file()
            for what in secret_traces.search(path.read_bytes(), wanted)
        ]


@pytest.fixture
def watched(place: Place) -> Watched:
    (place.path / "control").write_text(secrets.token_hex(16))
    small_root(place.path / "root.tar", WHOLE)
    return Watched(place)


def inventory(watched: Watched, **builder: t.Any) -> list[str]:
    """The arguments that give the play a builder with these variables."""
    python = {"ansible_python_interpreter": "/usr/bin/python3"}
    hosts = {
        "builder-2": {**python, **builder},
        "web-1": {"image_builder": "builder-2"},
        "localhost": {**python, "ansible_connection": "local"},
    }
    path = watched.place.path / "inventory.json"
    path.write_text(
        json.dumps({"all": {"hosts": hosts, "children": {"images": {"hosts": {"web-1": None}}}}})
    )
    return ["--inventory", str(path)]


def roles(watched: Watched) -> str:
    """A play that makes the keys of an image and nothing more, and shows what a module without care leaves."""
    role = "ansible.builtin.include_role"
    play = {
        "hosts": "images",
        "gather_facts": False,
        "tasks": [
            {role: {"name": "sealedroot.image.preflight"}},
            {role: {"name": "sealedroot.image.keys"}},
            {
                "ansible.builtin.stat": {"path": "/nowhere/{{ control }}"},
                "delegate_to": "{{ image_builder }}",
            },
            {role: {"name": "sealedroot.image.teardown"}},
        ],
    }
    path = watched.place.path / "play.yml"
    path.write_text(json.dumps([play]))
    return str(path)


@pytest.mark.parametrize("connection", ["local", "elsewhere"])
def test_no_secret_is_in_a_file_or_in_the_output(watched: Watched, connection: str) -> None:
    builder = inventory(watched, ansible_connection=connection)
    run = watched.play(roles(watched), "-vvvvvv", "--diff", *builder, **LOUD)
    assert run.rc == 0, run.output[-6000:]
    # The control: what a module without that care gets is in all of them, and in files that are gone.
    control = (watched.place.path / "control").read_bytes()
    found = watched.traces({control: "control"})
    places = {where.partition("/")[0].partition(":")[0] for where in found}
    assert places >= {"called_back", "log", "output", "transferred"}
    assert watched.traces(watched.given.needles) == []


@pytest.mark.parametrize("connection", ["local", "elsewhere"])
@pytest.mark.parametrize(
    ("environment", "variables", "reason"),
    [
        ({"ANSIBLE_KEEP_REMOTE_FILES": "true"}, {}, "ANSIBLE_KEEP_REMOTE_FILES is set: unset it"),
        (
            {"ANSIBLE_BECOME_ALLOW_SAME_USER": "true"},
            {"ansible_become": True, "ansible_become_method": "su"},
            "'su' gives a module no standard input: use another become_method, such as sudo",
        ),
    ],
    ids=["keep_remote_files", "su"],
)
def test_a_build_is_refused_before_it_begins(
    watched: Watched,
    connection: str,
    environment: dict[str, str],
    variables: dict[str, t.Any],
    reason: str,
) -> None:
    builder = inventory(watched, ansible_connection=connection, **variables)
    run = watched.play(PLAYBOOK, "-vvvvvv", *builder, **LOUD, **environment)
    assert run.rc != 0
    assert run.said(f"builder_info to a file, because {reason}"), run.output[-3000:]
    assert run.changed == 0
    assert not (watched.place.path / "work").exists()
    assert watched.traces(watched.given.needles) == []


def test_a_rotation_is_refused_before_it_makes_a_key(watched: Watched) -> None:
    path = watched.place.path / "machines.json"
    machine = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    path.write_text(json.dumps({"machines": {"hosts": {"web-1": machine}}}))
    run = watched.play(
        *("sealedroot.image.rotate_keys", "--inventory", str(path)),
        ANSIBLE_KEEP_REMOTE_FILES="true",
    )
    assert run.rc != 0
    assert run.said("encrypted_root_info to a file, because ANSIBLE_KEEP_REMOTE_FILES is set")
    assert not watched.place.out.exists()
