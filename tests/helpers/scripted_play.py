# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays on a real ansible-playbook whose connection answers from files, and what they leave behind."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]

CONNECTION = '''
from __future__ import annotations

DOCUMENTATION = """
name: scripted
short_description: answers from a file
description: answers from a file
author: nobody
options:
  answers:
    description: the directory of the answers
    vars: [{name: scripted_answers}]
  name:
    description: the answer
    vars: [{name: scripted_name}]
  module:
    description: whose answer
    vars: [{name: scripted_module}]
  filtered:
    description: whether the output passes the filter of the connection to an image
    type: bool
    default: false
    vars: [{name: scripted_filtered}]
"""

import pathlib

from ansible.plugins.connection import ConnectionBase
from ansible_collections.sealedroot.image.plugins.plugin_utils import _answers


class Connection(ConnectionBase):
    transport = "scripted"
    has_pipelining = True

    def _connect(self):
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        path = pathlib.Path(self.get_option("answers"), self.get_option("module"), self.get_option("name"))
        data = path.read_bytes()
        return 0, _answers.shown(_answers.plain(data)) if self.get_option("filtered") else data, b""

    def put_file(self, in_path, out_path):
        pass

    def fetch_file(self, in_path, out_path):
        pass

    def close(self):
        pass
'''

CALLBACK = '''
from __future__ import annotations

DOCUMENTATION = """
name: dump
type: aggregate
short_description: writes what the play left
description: writes what the play left
author: nobody
options:
  path:
    description: where
    env: [{name: DUMP_PATH}]
"""

import json

from ansible.plugins.callback import CallbackBase
from ansible.template import is_trusted_as_template


def trusted(value):
    if isinstance(value, dict):
        return [it for pair in value.items() for part in pair for it in trusted(part)]
    if isinstance(value, (list, tuple)):
        return [it for part in value for it in trusted(part)]
    return [value] if isinstance(value, str) and is_trusted_as_template(value) else []


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "dump"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.results = []
        self.variables = None

    def v2_playbook_on_play_start(self, play):
        self.variables = play.get_variable_manager()

    def _add(self, result, how):
        said = json.loads(json.dumps(dict(result.result), default=str))
        self.results.append({"host": result.host.name, "task": result.task.name, "how": how, "result": said})

    def v2_runner_on_ok(self, result):
        self._add(result, "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._add(result, "failed")

    def v2_runner_on_unreachable(self, result):
        self._add(result, "unreachable")

    def v2_runner_on_skipped(self, result):
        self._add(result, "skipped")

    def v2_playbook_on_stats(self, stats):
        manager, inventory = self.variables, self.variables._inventory
        hosts = sorted(inventory.hosts)
        facts = {}
        for host in hosts:
            try:
                facts[host] = manager._fact_cache.get(host)
            except KeyError:
                facts[host] = {}
        registered = {host: manager._nonpersistent_fact_cache.get(host, {}) for host in hosts}
        left = {
            "hosts": hosts,
            "groups": sorted(inventory.groups),
            "custom": stats.custom,
            "dark": stats.dark,
            "facts": facts,
            "registered": registered,
            "trusted": trusted([list(it.values()) for it in (*facts.values(), *registered.values())]),
            "results": self.results,
        }
        with open(self.get_option("path"), "w") as file:
            json.dump(left, file, default=str)
'''


def run(
    place: pathlib.Path, plays: t.Sequence[t.Any], hosts: t.Mapping[str, t.Any], timeout: int = 600
) -> dict[str, t.Any]:
    """Run the plays on these hosts; return what the callback saw, and as ``output`` what was printed."""
    for kind, name, text in (
        ("connection", "scripted", CONNECTION),
        ("callback", "dump", CALLBACK),
    ):
        (place / kind).mkdir()
        (place / kind / f"{name}.py").write_text(text)
    namespace = place / "collections" / "ansible_collections" / "sealedroot"
    namespace.mkdir(parents=True)
    (namespace / "image").symlink_to(ROOT)
    (place / "ansible.cfg").touch()
    (place / "play.yml").write_text(yaml.safe_dump(list(plays), sort_keys=False))
    (place / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict(hosts)}}))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_CALLBACKS_ENABLED": "dump",
        "ANSIBLE_CALLBACK_PLUGINS": str(place / "callback"),
        "ANSIBLE_CONNECTION_PLUGINS": str(place / "connection"),
        "ANSIBLE_COLLECTIONS_PATH": str(place / "collections"),
        "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
        "ANSIBLE_FORKS": "4",
        "ANSIBLE_HOME": str(place / "home"),
        "ANSIBLE_LOCAL_TEMP": str(place / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "true",
        "DUMP_PATH": str(place / "left.json"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [
            shutil.which("ansible-playbook") or "",
            "-i",
            str(place / "hosts.yml"),
            str(place / "play.yml"),
            "--diff",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=timeout,
        env=environment,
    )
    output = done.stdout.decode("utf-8", "surrogateescape")
    assert (place / "left.json").exists(), output[-4000:]
    left: dict[str, t.Any] = json.loads((place / "left.json").read_text())
    return {**left, "output": output}
