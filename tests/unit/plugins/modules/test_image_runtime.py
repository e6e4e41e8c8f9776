# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import holds
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import ids, request
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import (
    network,
    python_runtime,
    seccomp,
)
from ansible_collections.sealedroot.image.plugins.modules import image_runtime

HEADER = b"LUKS header".ljust(8192, b"\0")
KEY = "Ym9vdGJvb3Rib290Ym9vdGJvb3Rib290Ym9vdGJvb3Q="
SECRETS = ("boot.key", "luks.header")


class Library:
    """A libseccomp that knows one call."""

    def seccomp_syscall_resolve_name(self, _name):
        return 250


@pytest.fixture
def runtime(tmp_path, monkeypatch, run_module, script):
    """The module on a private directory; the interpreter is a small made one, and nothing is mounted."""
    stdlib = tmp_path / "lib" / "python3.11"
    stdlib.mkdir(parents=True)
    (stdlib / "os.py").touch()
    for name in ("python", "ld.so"):
        (tmp_path / name).write_text(name)
    made = python_runtime.Interpreter(
        str(tmp_path / "python"), str(stdlib), (), str(tmp_path / "ld.so")
    )
    monkeypatch.setattr(python_runtime, "find", lambda _runner: made)
    boot_key = tmp_path / "boot.key"
    boot_key.write_text(KEY)
    boot_key.chmod(0o600)
    luks_header = tmp_path / "luks.header"
    luks_header.write_bytes(HEADER)
    luks_header.chmod(0o400)
    run = tmp_path / "run"
    run.mkdir()
    mounted, owners = set(), {}
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in mounted)
    monkeypatch.setattr(os, "chown", lambda path, user, group: owners.update({path: (user, group)}))
    monkeypatch.setattr(network, "checks_valid_until", lambda _runner: False)
    monkeypatch.setattr(seccomp, "load", Library)
    monkeypatch.setattr(seccomp, "export", lambda _library, handle, _name: os.write(handle, b"bpf"))

    class Runtime:
        directory = run
        key = boot_key
        header = luks_header
        owner = owners

        def expect(self, *, maps_ids=True):
            """Expect what a first call does: mount a tmpfs, and try whether ids can be mapped."""
            size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
            own = str(run / "own")
            options = f"nosuid,nodev,mode=0755,size={size}"
            argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", own]
            script.expect(argv, effect=lambda: mounted.add(own))
            self.expect_probe(maps_ids=maps_ids)

        def expect_probe(self, *, maps_ids=True):
            argv = [str(run / "sandbox/launch"), "root=/w/root", "probe=1", "deadline=60"]
            said = "" if maps_ids else "sandbox: map the ids of /w/root: Invalid argument\n"
            script.expect([*argv, "python", "-c", ""], rc=0 if maps_ids else 125, stderr=said)

        def __call__(self, **args):
            return run_module(
                "image_runtime",
                path=str(run),
                root="/w/root",
                key_file=str(boot_key),
                header_file=str(luks_header),
                _diff=True,
                **args,
            )

    return Runtime()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_four_calls(runtime):
    predicted = runtime(_check=True, network=True)
    assert list(runtime.directory.iterdir()) == []
    runtime.expect()
    done = runtime(network=True)
    assert done.result == {**predicted.result, "maps_ids": True}
    assert done["changed"]
    assert done["python"] == "/run/sealedroot/python3"
    assert done["network"]["check_valid_until"] is False
    assert done["network"]["resolv_conf"].startswith("nameserver 10.0.2.3")
    assert done["diff"]["before"] == {"sandbox": False, "secrets": False}
    assert 'Check-Valid-Until "false"' in (runtime.directory / "given/apt.conf").read_text()
    assert not runtime()["changed"]
    assert not runtime(_check=True)["changed"]


def test_the_builders_network_is_looked_at_when_it_is_asked_for(runtime, monkeypatch):
    monkeypatch.setattr(image_runtime, "taken_over", lambda _runner: pytest.fail("not asked for"))
    runtime.expect()
    assert "network" not in runtime().result
    assert "Check-Valid-Until" not in (runtime.directory / "given/apt.conf").read_text()


def test_modes(runtime):
    runtime.expect()
    old = os.umask(0o077)
    try:
        runtime()
    finally:
        os.umask(old)
    directory = runtime.directory
    assert mode(directory / "secrets") == 0o700
    for name in SECRETS:
        assert mode(directory / "secrets" / name) == 0o400
        # Where they are shown, there is something to mount them on, and nothing in it.
        assert (directory / "given" / name).read_bytes() == b""
    assert mode(directory / "own/tmp") == 0o1777
    assert mode(directory / "sandbox") == 0o700
    assert mode(directory / "given/python3") == 0o755
    # A program of the image may run as another user.
    for folder in (".", "python", "python/bin", "python/libs", "python/lib/python3.11"):
        assert mode(directory / "given" / folder) == 0o755, folder


def test_what_the_image_may_change_is_its_roots_and_the_rest_is_not(runtime):
    runtime.expect()
    runtime()
    owned = {os.path.relpath(it, runtime.directory) for it in runtime.owner}
    writable = {"own/run", "own/tmp", "own/esp", "own/lasting-tmp"}
    assert owned == {*writable, "secrets", *(f"secrets/{name}" for name in SECRETS)}
    assert set(runtime.owner.values()) == {(ids.FIRST_ID, ids.FIRST_ID)}


def test_where_ids_cannot_be_mapped_the_reason_is_said(runtime):
    runtime.expect(maps_ids=False)
    done = runtime()
    assert done["maps_ids"] is False
    assert done["maps_ids_reason"] == "sandbox: map the ids of /w/root: Invalid argument"
    assert set(runtime.owner.values()) == {(0, 0)}
    assert "maps_ids=False\n" in (runtime.directory / "sandbox/settings").read_text()


def test_the_launcher_reads_the_settings(runtime):
    runtime.expect()
    runtime()
    settings = request.Settings((runtime.directory / "sandbox/settings").read_text())
    assert (settings.bwrap, settings.loader, settings.keyctl) == ("bwrap", "ld.so", 250)
    assert settings.maps_ids
    # By which a teardown knows it.
    assert (runtime.directory / "sandbox/launch").read_text().endswith(f'/{holds.LAUNCHER} "$@"\n')


def test_the_launcher_starts_from_its_own_files_alone(runtime):
    runtime.expect()
    runtime()
    argv = [runtime.directory / "sandbox/launch", "root=/nonexistent", "shell", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == request.STOPPED
    assert done.stderr.startswith("\nsandbox: /nonexistent is not a directory")


def test_nobody_else_reads_or_adds_a_file_of_the_launcher(runtime):
    runtime.expect()
    runtime()
    directory = runtime.directory / "sandbox/launcher"
    (directory / "json.py").touch()
    (runtime.directory / "sandbox/settings").unlink()
    runtime.expect_probe()
    runtime()
    package = directory / "_launcher"
    assert list(directory.iterdir()) == [package]
    assert mode(directory) == mode(package) == 0o700
    files = [runtime.directory / "sandbox/launcher.pyc", *package.iterdir()]
    sources = pathlib.Path(request.__file__).parent.glob("*.py")
    assert {it.name for it in package.iterdir()} == {f"{it.name}c" for it in sources}
    assert {mode(it) for it in files} == {0o400}


def test_the_key_is_as_it_was_and_not_shown(runtime):
    runtime.expect()
    done = runtime()
    assert (runtime.directory / "secrets/boot.key").read_text() == KEY
    assert KEY not in json.dumps(done.result)


def test_another_key_replaces_the_first(runtime):
    runtime.expect()
    runtime()
    runtime.key.write_text("another key")
    runtime.owner.clear()
    done = runtime()
    assert done["changed"]
    assert done["diff"]["before"] == {"sandbox": True, "secrets": False}
    assert (runtime.directory / "secrets/boot.key").read_text() == "another key"
    assert mode(runtime.directory / "secrets/boot.key") == 0o400
    assert set(runtime.owner.values()) == {(ids.FIRST_ID, ids.FIRST_ID)}


def test_another_header_replaces_the_first(runtime):
    runtime.expect()
    runtime()
    path = runtime.directory / "secrets/luks.header"
    assert path.read_bytes() == HEADER
    runtime.header.chmod(0o600)
    runtime.header.write_bytes(HEADER[::-1])
    assert runtime(_check=True)["changed"]
    assert path.read_bytes() == HEADER
    assert runtime()["changed"]
    assert path.read_bytes() == HEADER[::-1]
    assert mode(path) == 0o400
    assert not runtime()["changed"]


def test_a_run_that_was_killed_half_way_is_finished(runtime):
    runtime.expect()
    runtime()
    (runtime.directory / "sandbox/settings").unlink()
    (runtime.directory / "given/python3").unlink()
    runtime.expect_probe()
    done = runtime()
    assert not done.failed
    assert done["changed"]
    assert (runtime.directory / "given/python3").exists()
    assert (runtime.directory / "given/python/bin/python3").exists()
    assert not runtime()["changed"]


@pytest.mark.parametrize(("name", "what"), [("key", "key file"), ("header", "header file")])
def test_what_others_can_read_is_refused(runtime, name, what):
    path = getattr(runtime, name)
    path.chmod(0o644)
    outcome = runtime()
    assert outcome.failed
    assert f"the {what} {path} can be read by others: set its mode to 0600" in outcome["msg"]
    assert list(runtime.directory.iterdir()) == []
