# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action with a connection that runs its commands here."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import types
import typing as t

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import action_loader
from ansible_collections.sealedroot.image.plugins.plugin_utils import _transfer

DATA = bytes(range(256)) * 5
# Its names are made when it is loaded.
CORE: t.Any = constants


class Become:
    """A plugin that runs commands as they are."""

    success = ""

    def build_become_command(self, command, _shell):
        return command

    def get_option(self, _name):
        return "root"


class Connection:
    """Runs commands in a shell of this machine, and remembers whether they were shown."""

    transport = "ssh"
    _shell = types.SimpleNamespace(tmpdir=None)

    def __init__(self, play_context, become):
        self._play_context = play_context
        self.become = become
        self.hidden = []

    def has_option(self, _name):
        return False

    def exec_command(self, command, in_data=None, sudoable=True):
        self.hidden.append(self._play_context.no_log and not CORE.DEFAULT_DEBUG)
        done = subprocess.run(["sh", "-c", command], input=in_data, capture_output=True)
        return done.returncode, done.stdout, done.stderr

    def fetch_file(self, source, path):
        self.hidden.append(self._play_context.no_log and not CORE.DEFAULT_DEBUG)
        try:
            shutil.copyfile(source, path)
        except FileNotFoundError as exc:
            raise AnsibleError(f"failed to transfer file: {exc}") from exc


class Collect:
    """Runs the action as a task would."""

    def __init__(self, dest, become):
        self.dest = dest
        self.context = PlayContext()
        # The connection of a task has one of its own.
        self.connection = Connection(PlayContext(), become)

    def __call__(self, files, *, check=False):
        task = Task()
        task.action = "sealedroot.image.image_collect"
        task.args = {"files": files, "dest": str(self.dest)}
        task.check_mode = check
        action = action_loader.get(
            "sealedroot.image.image_collect",
            task=task,
            connection=self.connection,
            play_context=self.context,
            loader=DataLoader(),
            templar=None,
            shared_loader_obj=None,
        )
        return action.run(task_vars={})


@pytest.fixture(params=[None, Become()], ids=["root", "become"])
def collect(request, tmp_path, monkeypatch):
    monkeypatch.setattr(CORE, "DEFAULT_DEBUG", True)
    monkeypatch.setattr(_transfer, "CHUNK", 512)
    return Collect(tmp_path / "out" / ".web-1.partial", request.param)


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "disk.qcow2").write_bytes(DATA)
    (tmp_path / "boot.key").write_bytes(b"k" * 44)
    return [
        {"src": str(tmp_path / "disk.qcow2"), "mode": "0644"},
        {"src": str(tmp_path / "boot.key")},
    ]


def test_what_a_guest_is_started_from_arrives_in_its_directory(collect, sources, tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"secret")
    sources.append({"src": str(tmp_path / "secret.bin"), "name": "launch/secret.bin"})
    assert collect(sources)["files"]["launch/secret.bin"] == {}
    path = tmp_path / "out" / ".web-1.partial" / "launch" / "secret.bin"
    assert path.read_bytes() == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../boot.key", "launch/../../x", "other/x", "/etc/x"])
def test_no_name_leads_elsewhere(collect, sources, name):
    sources[1]["name"] = name
    with pytest.raises(AnsibleActionFail, match="names no file of an image"):
        collect(sources)


def test_files_arrive_with_their_modes(collect, sources, tmp_path):
    result = collect(sources)
    dest = tmp_path / "out" / ".web-1.partial"
    assert stat.S_IMODE(dest.stat().st_mode) == 0o700
    assert (dest / "disk.qcow2").read_bytes() == DATA
    assert stat.S_IMODE((dest / "disk.qcow2").stat().st_mode) == 0o644
    assert stat.S_IMODE((dest / "boot.key").stat().st_mode) == 0o600
    digest = hashlib.sha256(DATA).hexdigest()
    # Of a key not even its size is told.
    assert result["files"] == {
        "disk.qcow2": {"sha256": digest, "size": len(DATA)},
        "boot.key": {},
    }
    # Core's ssh plugin would show them at -vvv, and with ANSIBLE_DEBUG.
    assert set(collect.connection.hidden) == {True}


def test_a_disk_with_holes_arrives_with_holes(collect, sources, tmp_path):
    with (tmp_path / "disk.raw").open("wb") as disk:
        disk.truncate(1 << 20)
        disk.seek(512 << 10)
        disk.write(DATA)
    sources.append({"src": str(tmp_path / "disk.raw"), "mode": "0644", "sparse": True})
    result = collect(sources)
    arrived = tmp_path / "out" / ".web-1.partial" / "disk.raw"
    assert arrived.read_bytes() == (tmp_path / "disk.raw").read_bytes()
    assert result["files"]["disk.raw"]["size"] == 1 << 20
    assert arrived.stat().st_blocks * 512 <= 8192
    assert set(collect.connection.hidden) == {True}


def test_what_was_there_is_not_mixed_in(collect, sources, tmp_path):
    dest = tmp_path / "out" / ".web-1.partial"
    dest.mkdir(parents=True)
    (dest / "old").touch()
    collect(sources)
    assert {path.name for path in dest.iterdir()} == {"disk.qcow2", "boot.key"}


def test_check_mode_touches_nothing(collect, sources, tmp_path):
    assert collect(sources, check=True)["changed"]
    assert not (tmp_path / "out").exists()


def test_a_file_that_changed_on_the_way_leaves_nothing(collect, sources, tmp_path):
    sources[0]["sha256"] = "0" * 64
    with pytest.raises(AnsibleActionFail, match=r"disk\.qcow2 did not arrive as it is"):
        collect(sources)
    assert not list((tmp_path / "out").iterdir())


def test_a_file_that_is_missing_leaves_nothing(collect, sources, tmp_path):
    sources.append({"src": str(tmp_path / "recovery.key")})
    with pytest.raises(AnsibleError, match=r"No such file"):
        collect(sources)
    assert not list((tmp_path / "out").iterdir())


def test_two_files_of_one_name_are_refused(collect, sources):
    with pytest.raises(AnsibleActionFail, match="the same name"):
        collect([*sources, {"src": "/elsewhere/boot.key"}])


def test_arguments_are_validated(collect):
    with pytest.raises(AnsibleError, match="src"):
        collect([{"mode": "0600"}])
