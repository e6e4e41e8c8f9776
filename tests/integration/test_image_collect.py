# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files from a builder that is reached by ssh, as root and by becoming root."""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import subprocess
import typing as t

import pytest
import sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[sshd.Server]:
    with sshd.running(tmp_path_factory.mktemp("server") / "sshd") as it:
        yield it


@pytest.mark.parametrize("become", [False, True], ids=["root", "become"])
def test_files_arrive_unchanged_and_unseen(
    tmp_path: pathlib.Path, server: sshd.Server, become: bool
) -> None:
    """At the highest verbosity, at which the ssh plugin shows what commands print."""
    key = secrets.token_urlsafe(33)
    (tmp_path / "boot.key").write_text(key)
    # What a terminal would change, and more than one piece.
    data = b"\n\r\n\x00\x03\x04\x11\x13\x1a\xff" * (1 << 20)
    (tmp_path / "disk.raw").write_bytes(data)
    # In place of sudo, which needs a user of the system.
    program = tmp_path / "become"
    program.write_text('#!/bin/sh\nshift 4\nexec "$@"\n')
    program.chmod(0o755)
    variables = server.variables(ansible_control_path_dir=str(tmp_path / "cp"))
    if become:
        variables.update(
            ansible_become=True,
            ansible_become_exe=str(program),
            ansible_become_flags="-H -n",
            ansible_become_user="toor",
        )
    files = [{"src": str(tmp_path / name)} for name in ("boot.key", "disk.raw")]
    task = {"sealedroot.image.image_collect": {"files": files, "dest": str(tmp_path / "out")}}
    play = {"hosts": "builder-2", "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.json").write_text(json.dumps([play]))
    inventory = {"all": {"hosts": {"builder-2": variables}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    done = subprocess.run(
        ["ansible-playbook", "-vvvv", "-i", tmp_path / "inventory.json", tmp_path / "play.json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "out" / "boot.key").read_text() == key
    assert (tmp_path / "out" / "disk.raw").read_bytes() == data
    assert "ESTABLISH SSH CONNECTION" in done.stdout or "FETCH" in done.stdout
    assert key not in done.stdout
    assert "\\x1a\\xff" not in done.stdout
