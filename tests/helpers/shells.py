# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A runner in whose place only the shell is real."""

from __future__ import annotations

import subprocess
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import Result, Runner


def run(argv: t.Sequence[str], stdin: bytes | None) -> Result:
    """Run a shell of this machine."""
    done = subprocess.run(list(argv), input=stdin, capture_output=True, check=False)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


class WithShell(Runner):
    """Another runner, which does everything but run a shell."""

    def __init__(self, inner: Runner) -> None:
        self.inner = inner

    def find(self, *names: str) -> str:
        return self.inner.find(*names)

    def run(self, argv: t.Sequence[str], **how: t.Any) -> Result:
        return run(argv, how.get("stdin")) if argv[0] == "sh" else self.inner.run(argv, **how)
