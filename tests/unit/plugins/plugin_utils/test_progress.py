# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said on the terminal while a long step is at work."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import threading
import time

import pytest
from ansible_collections.sealedroot.image.plugins.action import (
    image_audit,
    image_boot_test,
    image_convert,
    root_tar,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils import _progress, _secret_arguments


def test_a_long_step_is_spoken_of_until_it_ends() -> None:
    said: list[str] = []
    before = threading.active_count()
    with _progress.spoken(said.append, "still at work: [web] Boot", period=0.05):
        deadline = time.monotonic() + 10
        while len(said) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    count = len(said)
    assert count >= 2
    assert re.fullmatch(r"still at work: \[web\] Boot, \d+ seconds so far", said[0])
    assert threading.active_count() == before
    time.sleep(0.2)
    assert len(said) == count


def test_a_short_step_is_not_spoken_of_and_its_error_comes_through() -> None:
    said: list[str] = []
    with pytest.raises(ValueError, match="no"), _progress.spoken(said.append, "x"):
        raise ValueError("no")
    assert said == []


def test_the_long_steps_have_it() -> None:
    for plugin in (image_audit, image_boot_test, image_convert, root_tar):
        assert issubclass(plugin.ActionModule, _progress.SpokenAction)
    assert issubclass(root_tar.ActionModule, _secret_arguments.SecretAction)


def test_it_reaches_the_terminal_of_a_play(tmp_path: pathlib.Path) -> None:
    """The worker of a task has no terminal of its own."""
    plugins = tmp_path / "action_plugins"
    plugins.mkdir()
    (plugins / "slow.py").write_text(
        "import time\n"
        "from ansible.plugins.action import ActionBase\n"
        "from ansible.utils.display import Display\n"
        "from ansible_collections.sealedroot.image.plugins.plugin_utils import _progress\n"
        "class ActionModule(ActionBase):\n"
        "    def run(self, tmp=None, task_vars=None):\n"
        "        with _progress.spoken(Display().display, 'still at work', period=0.2):\n"
        "            time.sleep(1)\n"
        "        return {'changed': False}\n"
    )
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks: [{slow: }]\n"
    )
    collection = tmp_path / "collections/ansible_collections/sealedroot/image"
    collection.parent.mkdir(parents=True)
    collection.symlink_to(pathlib.Path(__file__).resolve().parents[4])
    settings = {"ACTION_PLUGINS": plugins, "COLLECTIONS_PATH": tmp_path / "collections"}
    env = {**os.environ, **{f"ANSIBLE_{name}": str(it) for name, it in settings.items()}}
    env["ANSIBLE_NOCOLOR"] = "1"
    argv = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^still at work, \d+ seconds so far$", done.stdout, re.MULTILINE)
