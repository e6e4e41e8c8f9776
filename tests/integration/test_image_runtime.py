# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runtime for real: a root without Python, and tasks of a playbook in it."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import struct
import subprocess
import sys
import typing as t

import pytest
import small_root
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

PYTHON = "/run/sealedroot/python3"
# What modules import beyond the plainest: each has a library of its own.
IMPORTS = "import _ctypes, bz2, grp, hashlib, json, lzma, pwd, select, socket, ssl, uuid, zlib"


HEADER = b"LUKS\xba\xbe, and so on"


def arguments(place: pathlib.Path) -> dict[str, str]:
    private = place / "private"
    return {
        "path": str(private / "run"),
        "root": str(place / "root"),
        "key_file": str(private / "keys" / "boot.key"),
        "header_file": str(private / "luks.header"),
    }


@pytest.fixture
def place(tmp_path: pathlib.Path, real_module) -> t.Iterator[pathlib.Path]:
    """A work directory: root, private/run with the runtime, private/keys."""
    small_root.make(tmp_path / "root")
    for name in ("keys", "run"):
        (tmp_path / "private" / name).mkdir(parents=True)
    key = tmp_path / "private" / "keys" / "boot.key"
    key.write_text("Ym9vdGJvb3Rib290Ym9vdGJvb3Rib290Ym9vdGJvb3Q=")
    header = tmp_path / "private" / "luks.header"
    header.write_bytes(HEADER)
    for path in (key, header):
        path.chmod(0o600)
    assert real_module("image_runtime", **arguments(tmp_path))["changed"]
    yield tmp_path
    subprocess.run(["umount", tmp_path / "private" / "run" / "own"], check=True)


@pytest.fixture
def run(place: pathlib.Path):
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    paths = {"image_root": str(place / "root"), "image_run": str(place / "private" / "run")}
    connection.set_options(var_options=paths)

    def run(command: str, **variables: t.Any) -> str:
        connection.set_options(var_options={**paths, **variables})
        connection._connected = False
        status, stdout, stderr = connection.exec_command(command)
        assert status == 0, stderr
        return str(stdout.decode())

    yield run
    connection.close()


def python(run, code: str) -> str:
    return str(run(f"{PYTHON} -c '{code}'"))


def test_four_calls(place: pathlib.Path, real_module) -> None:
    args = arguments(place)
    assert not real_module("image_runtime", **args)["changed"]
    assert not real_module("image_runtime", _check=True, **args)["changed"]
    # Keys were rotated since.
    header = place / "private" / "luks.header"
    header.write_bytes(HEADER[::-1])
    calls = [real_module("image_runtime", _check=check, **args) for check in (True, False, False)]
    assert [call["changed"] for call in calls] == [True, True, False]
    assert (place / "private/run/secrets/luks.header").read_bytes() == HEADER[::-1]


def test_a_header_that_others_can_read_is_refused(place: pathlib.Path, real_module) -> None:
    (place / "private" / "luks.header").chmod(0o644)
    done = real_module("image_runtime", **arguments(place))
    assert done["failed"]
    assert "luks.header can be read by others: set its mode to 0600" in done["msg"]


def test_it_is_small(place: pathlib.Path) -> None:
    """It takes memory: the directory is on a tmpfs."""
    files = [path for path in (place / "private" / "run").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100 << 20


def test_nothing_but_its_own_files_is_mapped(run) -> None:
    """So it runs in a root with another C library, or with none."""
    printed = python(run, f'{IMPORTS}; print(open("/proc/self/maps").read())')
    mapped = {word for word in printed.split() if word.startswith("/")}
    assert mapped
    assert {path for path in mapped if not path.startswith("/run/sealedroot/python/")} == set()


def test_its_library_and_program_are_its_own(run) -> None:
    printed = json.loads(
        python(run, "import json, sys; print(json.dumps([sys.path, sys.executable]))")
    )
    paths, program = printed
    assert all(path == "" or path.startswith("/run/sealedroot/python/") for path in paths)
    assert program == PYTHON
    again = 'import subprocess, sys; subprocess.run([sys.executable, "-c", "print(7)"], check=True)'
    assert python(run, again) == "7\n"


def test_programs_that_it_starts_see_nothing_of_it(run) -> None:
    """PYTHONHOME of this Python would break the image's own, in a package's script for one."""
    started = python(run, 'import subprocess; subprocess.run(["env"], check=True)')
    assert "PYTHON" not in started
    assert "LD_" not in started
    assert "HOME=/root" in started.splitlines()


def test_key_and_header_are_there_for_who_asks_and_for_root_only(run) -> None:
    command = "cd /run/sealedroot; cat boot.key; echo; ls -l boot.key luks.header"
    assert "Ym9" not in run(command)
    printed = run(command, image_secrets=True)
    key, header = printed.splitlines()[-2:]
    assert key.startswith("-r-------- 1 0 0 44 ")
    assert header.startswith(f"-r-------- 1 0 0 {len(HEADER)} ")
    assert run("cat /run/sealedroot/boot.key", image_secrets=True).startswith("Ym9")


OPEN_BY_HANDLE = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
kind, handle = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
buffer = ctypes.create_string_buffer(struct.pack("Ii", len(handle), kind) + handle)
fd = libc.open_by_handle_at(os.open("/run", os.O_RDONLY), buffer, 0)
print(os.read(fd, 99) if fd >= 0 else os.strerror(ctypes.get_errno()))
"""


def test_files_beside_what_is_shown_cannot_be_opened_by_handle(place: pathlib.Path, run) -> None:
    """/run shows one directory of a file system; the keys are in another one of the same."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    mount = ctypes.c_int()
    key = os.fsencode(place / "private" / "keys" / "boot.key")
    assert libc.name_to_handle_at(-100, key, buffer, ctypes.byref(mount), 0) == 0
    length, kind = struct.unpack("Ii", buffer.raw[:8])
    (place / "private" / "run" / "own" / "run" / "open.py").write_text(OPEN_BY_HANDLE)
    printed = run(f"{PYTHON} /run/open.py {kind} {buffer.raw[8 : 8 + length].hex()}")
    assert printed == "Operation not permitted\n"


PLAY = """
- hosts: image
  gather_facts: false
  tasks:
    - ansible.builtin.raw: id -u
      register: raw
    - ansible.builtin.setup:
    - ansible.builtin.copy: {content: "copied\\n", dest: /etc/link, follow: true, mode: "0640"}
    - ansible.builtin.template: {src: template.j2, dest: /etc/templated, mode: "0600"}
    - ansible.builtin.script: script.sh one
      register: script
    - ansible.builtin.fetch: {src: /etc/templated, dest: fetched, flat: true}
    - ansible.builtin.command: env
      register: env
    - ansible.builtin.copy:
        dest: "{{ playbook_dir }}/result.json"
        content: "{{ dict(raw=raw.stdout, script=script.stdout, env=env.stdout, python=ansible_facts.python.executable,
          host=ansible_facts.hostname) }}"
        mode: "0600"
      delegate_to: localhost
      vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
"""


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "transfer"])
def test_tasks_of_a_playbook(place: pathlib.Path, pipelining: bool) -> None:
    root = place / "root"
    (root / "etc" / "link").symlink_to("/etc/copied")
    (root / "etc" / "copied").write_text("old\n")
    (place / "play.yml").write_text(PLAY)
    (place / "template.j2").write_text("{{ inventory_hostname }}\n")
    (place / "script.sh").write_text("#!/bin/sh\necho script $1\n")
    variables = {
        "ansible_connection": "sealedroot.image.chroot",
        "ansible_python_interpreter": PYTHON,
        "ansible_remote_tmp": "/run/sealedroot/tmp",
        "ansible_chroot_pipelining": pipelining,
        "image_root": str(root),
        "image_run": str(place / "private" / "run"),
    }
    inventory = {"all": {"hosts": {"image": variables}}}
    (place / "inventory.json").write_text(json.dumps(inventory))
    before = tree(root)
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": ":".join(AnsibleCollectionConfig.collection_paths),
        "ANSIBLE_LOCAL_TEMP": str(place / "controller"),
        "SECRET_OF_THE_BUILDER": "leaked",
    }
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "inventory.json", "play.yml"],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((place / "result.json").read_text())
    assert result["raw"].strip() == "0"
    assert result["script"].strip() == "script one"
    assert result["python"] == PYTHON
    assert result["host"] == "localhost"
    assert "SECRET" not in result["env"]
    assert "PYTHON" not in result["env"]
    assert (root / "etc" / "copied").read_text() == "copied\n"
    assert (place / "fetched").read_text() == "image\n"
    # Of the tasks themselves nothing is left, in the image or in what it saw as /run.
    assert tree(root) - before == {"etc/templated"}
    assert (root / "etc" / "link").is_symlink()
    assert list((place / "private" / "run" / "own" / "tmp").iterdir()) == []


def tree(root: pathlib.Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_whatever_umask_the_builder_has(place: pathlib.Path, real_module) -> None:
    """Root of the image is nobody on the builder, and reads what it is given all the same."""
    args = arguments(place)
    subprocess.run(["umount", place / "private/run/own"], check=True)
    before = os.umask(0o077)
    try:
        assert real_module("image_runtime", **args)["changed"]
    finally:
        os.umask(before)
    given = place / "private/run/given"
    names = [given, *given.rglob("*")]
    assert len(names) > 500
    wanted = {True: 0o005, False: 0o004}
    closed = [it for it in names if not it.stat().st_mode & wanted[it.is_dir()]]
    assert [it for it in closed if it.name != "boot.key"] == []
