# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import threading
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._machine.pexpect_console import (
    PexpectConsole,
)


def test_a_command_that_takes_a_moment_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate(self: t.Any, force: bool) -> bool:
        assert force
        threading.Timer(0.3, self.kill, [signal.SIGKILL]).start()
        return False

    monkeypatch.setattr("ptyprocess.PtyProcess.terminate", terminate)
    argv = ["sh", "-c", "trap '' HUP; echo ready; exec sleep 60"]
    with PexpectConsole(argv) as console:
        console.wait(["ready"], 30)
        assert console._child.isalive()
    assert not console._child.isalive()
