# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter as libseccomp writes it. What the kernel does with it: tests/integration/test_sandbox.py."""

from __future__ import annotations

import ctypes
import os

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import seccomp
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_the_filter_is_a_program_for_the_kernel(tmp_path, machine):
    path = tmp_path / "filter"
    with path.open("wb") as file:
        native = os.uname().machine
        seccomp.export(seccomp.load(), file.fileno(), machine if machine == native else "riscv64")
    # struct sock_filter has eight bytes, and the kernel takes 4096 of them.
    size = path.stat().st_size
    assert size % 8 == 0
    assert 100 < size // 8 < 4096


def test_every_name_is_one_of_a_system_call():
    """A misspelled one would be left out in silence."""
    library = seccomp.load()
    for name in (*seccomp.REFUSED, *seccomp.UNKNOWN):
        assert seccomp.number(library, name) != -1, name


def test_a_builder_without_the_library_is_told_what_to_install(monkeypatch):
    def missing(*_args, **_options):
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert not seccomp.is_there()
    with pytest.raises(SealedRootError, match="install libseccomp"):
        seccomp.load()
