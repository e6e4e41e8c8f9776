# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Runner for code that is called without a module around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MOST_OUTPUT,
    SECONDS,
    CommandError,
    MissingToolError,
    Result,
    Runner,
)


class RealRunner(Runner):
    """Runs the commands, by another way than the one of modules."""

    def find(self, *names: str) -> str:
        for name in names:
            path = shutil.which(name)
            if path:
                return path
        raise MissingToolError(f"{names} is not installed")

    def run(
        self,
        argv: t.Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: int = SECONDS,
        env: t.Mapping[str, str] | None = None,
        most: int = MOST_OUTPUT,
    ) -> Result:
        done = subprocess.run(
            argv,
            check=False,
            input=stdin or b"",
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        if check and result.rc:
            raise CommandError(argv, result)
        return result
