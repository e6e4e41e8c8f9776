# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader
from ansible_collections.sealedroot.image.plugins.connection import chroot


class Builder:
    """The inner connection: records what is run and answers from a list."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []

    def exec_command(self, cmd, in_data=None, sudoable=True):
        self.calls.append((cmd, in_data))
        return self.answers.pop(0)

    def close(self):
        self.calls.append("closed")


@pytest.fixture
def connect():
    def make(*answers):
        connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
        connection.set_options(var_options={"image_root": "/w/root", "image_run": "/w/run"})
        connection._connect()
        connection._builder = Builder(*answers)
        return connection

    return make


def test_status_and_output_pass_through(connect):
    connection = connect((3, b"out", b"err"))
    assert connection.exec_command("false", in_data=b"data") == (3, b"out", b"err")
    ((command, data),) = connection._builder.calls
    assert command.startswith("exec bwrap ")
    assert data == b"data"


def test_without_a_root_the_variable_is_named():
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(var_options={})
    with pytest.raises(AnsibleConnectionFailure, match="image_root"):
        connection.exec_command("true")


@pytest.mark.parametrize(
    "said",
    [
        b"/bin/sh: 1: exec: bwrap: not found",
        b"/bin/sh: line 1: exec: bwrap: not found",
        b"sh: exec: line 0: bwrap: not found",
    ],
    ids=["dash", "bash", "busybox"],
)
def test_a_missing_bwrap_is_a_connection_failure(connect, said):
    connection = connect((127, b"", said))
    with pytest.raises(AnsibleConnectionFailure, match="install bubblewrap"):
        connection.exec_command("true")


def test_a_root_that_bwrap_cannot_enter_is_a_connection_failure(connect):
    connection = connect((1, b"", b"bwrap: Can't find source path /w/root: No such file"))
    with pytest.raises(AnsibleConnectionFailure, match="no command can run in /w/root"):
        connection.exec_command("true")


def test_put_file_passes_in_pieces(connect, tmp_path, monkeypatch):
    monkeypatch.setattr(chroot, "CHUNK", 4)
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    connection = connect(*[(0, b"", b"")] * 3)
    connection.put_file(str(source), "/etc/it's")
    calls = connection._builder.calls
    assert [data for _command, data in calls] == [b"0123", b"4567", b"89"]
    assert "cat > " in calls[0][0]
    assert all("cat >> " in command for command, _data in calls[1:])


def test_put_file_makes_an_empty_file(connect, tmp_path):
    (tmp_path / "empty").touch()
    connection = connect((0, b"", b""))
    connection.put_file(str(tmp_path / "empty"), "/empty")
    assert len(connection._builder.calls) == 1


def test_put_file_failure_is_said(connect, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    connection = connect((1, b"", b"No space left on device"))
    with pytest.raises(AnsibleConnectionFailure, match="No space left"):
        connection.put_file(str(tmp_path / "file"), "/file")


def test_fetch_file_stops_at_a_short_piece(connect, tmp_path, monkeypatch):
    monkeypatch.setattr(chroot, "CHUNK", 4)
    connection = connect((0, b"0123", b""), (0, b"45", b""))
    connection.fetch_file("/etc/x", str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == b"012345"


def test_close_closes_the_builder(connect):
    connection = connect()
    connection.close()
    assert connection._builder.calls == ["closed"]


class Recorder:
    """An inner connection that records the options it was given."""

    def __init__(self, *options):
        self.options = options
        self.given = []

    def has_option(self, name):
        return name in self.options

    def set_options(self, **given):
        self.given.append(given)

    def _connect(self):
        pass


IMAGE = {"image_root": "/w/root", "image_run": "/w/run"}


@pytest.fixture
def via(monkeypatch):
    def make(inner, variables, task_keys=None):
        connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
        connection.set_options(task_keys=task_keys, var_options={**IMAGE, **variables})
        monkeypatch.setattr(chroot.connection_loader, "get", lambda *_args: inner)
        return connection

    return make


def test_options_are_handed_on_to_the_builders_connection(via):
    inner = Recorder("host")
    variables = {"ansible_host": "192.0.2.7", "ansible_port": 2222}
    via(inner, variables, {"remote_user": "root"})._connect()
    (given,) = inner.given
    assert given == {
        "task_keys": {"remote_user": "root"},
        "var_options": {**IMAGE, **variables},
    }


def test_the_real_ssh_plugin_gets_its_options():
    variables = {
        **IMAGE,
        "image_builder_connection": "ansible.builtin.ssh",
        "ansible_host": "192.0.2.7",
        "ansible_port": 2222,
        "ansible_user": "root",
        "ansible_ssh_common_args": "-o ProxyJump=jump",
        "ansible_ssh_private_key_file": "/keys/id",
    }
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(task_keys={}, var_options=variables)
    connection._connect()
    wanted = {
        "host": "192.0.2.7",
        "port": 2222,
        "remote_user": "root",
        "ssh_common_args": "-o ProxyJump=jump",
        "private_key_file": "/keys/id",
    }
    assert {name: connection._builder.get_option(name) for name in wanted} == wanted


def test_variables_of_the_builders_connection_are_declared():
    """Core hands a connection only those variables that its documentation names."""

    def variables(name):
        plugin = connection_loader.get(name, PlayContext())
        return set(C.config.get_plugin_vars("connection", plugin._load_name))

    ours, needed = variables("sealedroot.image.chroot"), variables("ansible.builtin.ssh")
    assert {"ansible_host", "ansible_user", "ansible_ssh_args"} <= needed
    # The image's name is no address. Files pass through commands, so sftp and scp are not used.
    unused = {"inventory_hostname", "ansible_pipelining", "ansible_ssh_pipelining"}
    unused |= {name for name in needed if "sftp" in name or "scp" in name}
    unused |= {name for name in needed if name.startswith("delegated_vars")}
    unused |= {"ansible_ssh_transfer_method", "ansible_ssh_use_tty"}
    assert needed - unused <= ours


def test_a_builder_without_an_address_is_named(via):
    """The inner plugin would take the image's own name for one."""
    inner = Recorder("host")
    with pytest.raises(AnsibleConnectionFailure, match="ansible_host"):
        via(inner, {"image_builder_connection": "ansible.builtin.ssh"})._connect()
    assert not inner.given


def test_an_empty_root_is_not_the_controllers_directory():
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(var_options={"image_root": "", "image_run": "/w/run"})
    with pytest.raises(AnsibleConnectionFailure, match="image_root"):
        connection._connect()


def test_paths_are_the_builders_and_not_expanded_on_the_controller():
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(var_options={"image_root": "~/root", "image_run": "/w/run"})
    with pytest.raises(AnsibleConnectionFailure, match="'~/root': it must be an absolute path"):
        connection._connect()
