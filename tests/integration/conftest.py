# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the integration tests: real modules with real tools on real files."""

from __future__ import annotations

import importlib
import json
import os
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args


@pytest.fixture(autouse=True)
def _root() -> None:
    """Loop devices and mounts need root; a run without it must not look like a pass."""
    if os.geteuid() != 0:
        pytest.fail("the integration tests need root")


@pytest.fixture
def real_module(capsys: pytest.CaptureFixture[str]) -> t.Callable[..., dict[str, t.Any]]:
    """Run a module's main() for real and return what it printed (``failed`` and ``msg`` included)."""

    def run(name: str, /, _check: bool = False, **args: t.Any) -> dict[str, t.Any]:
        module = importlib.import_module(
            f"ansible_collections.sealedroot.image.plugins.modules.{name}"
        )
        capsys.readouterr()
        args = {**args, "_ansible_check_mode": _check, "_ansible_diff": True}
        with patch_module_args(args), pytest.raises(SystemExit):
            module.main()
        printed: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        return printed

    return run
