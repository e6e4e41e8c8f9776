# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests that run in the VM itself, one process for each file: tests/guest, and integration tests on a stock kernel."""

from __future__ import annotations

import pytest
from builder_vm import BuilderVm

TREE = "/root/guest"


@pytest.fixture(scope="module")
def guest(vm: BuilderVm) -> BuilderVm:
    vm.push_tree(TREE)
    return vm


@pytest.mark.parametrize(
    "file", ["guest/test_dm_crypt.py", "integration/test_loop_devices.py"], ids=["dm_crypt", "loop"]
)
def test_modules_on_a_stock_kernel(guest: BuilderVm, file: str) -> None:
    run = guest.run(
        f"cd {TREE}/tree && PYTHONPATH={TREE}/lib SEALEDROOT_TEST_ROUNDS=5 timeout 900"
        f" python3 -B -m pytest -q -p no:cacheprovider -rA --durations=0 tests/{file} 2>&1",
        timeout=960,
        check=False,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-12000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
