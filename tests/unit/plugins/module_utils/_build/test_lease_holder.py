# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the holder of a lease knows a process by; that it ends with the play is in test_lease.py."""

from __future__ import annotations

import subprocess

from ansible_collections.sealedroot.image.plugins.module_utils._build import lease_holder


def test_a_process_that_began_later_is_another() -> None:
    with subprocess.Popen(["sleep", "60"]) as play:
        try:
            pid, start = lease_holder.process(play.pid)
            assert lease_holder.lives((pid, start))([])
            assert not lease_holder.lives((pid, str(int(start) - 1)))([])
        finally:
            play.kill()
