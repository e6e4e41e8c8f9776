# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
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
    assert command.startswith("bwrap ")
    assert data == b"data"


def test_without_a_root_the_variable_is_named():
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    connection.set_options(var_options={})
    with pytest.raises(AnsibleConnectionFailure, match="image_root"):
        connection.exec_command("true")


def test_a_missing_bwrap_is_a_connection_failure(connect):
    connection = connect((127, b"", b"/bin/sh: 1: bwrap: not found"))
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
