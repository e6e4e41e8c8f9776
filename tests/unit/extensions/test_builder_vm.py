# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module that starts the tests' own virtual machine."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import socket
import threading
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def builder_vm() -> t.Any:
    path = ROOT / "extensions" / "molecule" / "library" / "builder_vm.py"
    spec = importlib.util.spec_from_file_location("builder_vm_module", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_port_is_found_again_in_the_command(builder_vm: t.Any, runner: t.Any) -> None:
    params = {"image": "/cache/vm", "cpus": 2, "memory": 512}
    command = [
        *builder_vm.argv(runner, params, accelerator="tcg", initramfs="/vm/initramfs"),
        *builder_vm.devices("/a, b", 20022),
    ]
    assert builder_vm.port_of(command) == 20022
    # Out of it leads nothing but the answers of its ssh server.
    assert "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:20022-:22" in command
    assert any(word.endswith("file=/a,, b/overlay.qcow2") for word in command)
    assert "/cache/vm/vmlinuz" in command


def test_a_process_of_that_number_is_not_the_machine(
    builder_vm: t.Any, tmp_path: pathlib.Path
) -> None:
    assert builder_vm.running(str(tmp_path)) == (0, [])
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert builder_vm.running(str(tmp_path)) == (0, [])
    assert builder_vm.stop(str(tmp_path)) is True
    assert not tmp_path.exists()
    assert builder_vm.stop(str(tmp_path)) is False


def test_a_machine_that_ends_is_told_with_its_console(
    builder_vm: t.Any, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "console.log").write_text("Booting\r\nno root file system on /dev/vda\r\n")
    with pytest.raises(SealedRootError, match=r"it ended.*no root file system on /dev/vda"):
        builder_vm.await_ssh(str(tmp_path), builder_vm.free_port(), 20)


def test_a_machine_that_hangs_is_told_with_its_console(
    builder_vm: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "console.log").write_text("waiting for a disk\n")
    monkeypatch.setattr(builder_vm, "running", lambda _path: (1, []))
    with pytest.raises(SealedRootError, match=r"within 0\.3 seconds.*waiting for a disk"):
        builder_vm.await_ssh(str(tmp_path), builder_vm.free_port(), 0.3)


def test_the_ssh_server_is_what_is_waited_for(builder_vm: t.Any, tmp_path: pathlib.Path) -> None:
    """QEMU accepts at once; the server speaks when it is there."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _address = server.accept()
            with link:
                link.sendall(b"SSH-2.0-test\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        builder_vm.await_ssh(str(tmp_path), server.getsockname()[1], 20)
        thread.join(10)
