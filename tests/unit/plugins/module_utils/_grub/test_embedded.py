# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the core image runs first: its parser knows neither "for" nor "if", and behind it is a shell."""

from __future__ import annotations

from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg, embedded


def test_shells_are_closed_first_and_it_ends_in_none() -> None:
    assert embedded.CONFIG.splitlines() == [
        *cfg.CLOSED,
        "normal (memdisk)/grub.cfg",
        "halt",
    ]
    assert {line.split()[0] for line in embedded.CONFIG.splitlines()} <= {
        *("set", "export"),
        *cfg.REQUIRED,
    }


def test_an_open_console_stays_open() -> None:
    assert embedded.text(debug_console=True) == "normal (memdisk)/grub.cfg\nhalt\n"
