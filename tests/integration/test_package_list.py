# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role family_debian takes for an installed package, asked of the real dpkg."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule

STATES = {
    "whole": "install ok installed",
    "held": "hold ok installed",
    "waiting": "install ok triggers-pending",
    # Its files are there.
    "unpacked": "install ok unpacked",
    "removed": "deinstall ok config-files",
    "purged": "purge ok not-installed",
}


def listed(admin: pathlib.Path) -> subprocess.CompletedProcess[str]:
    (family,) = LookupModule().run(["debian"])
    command = family["package_list"]["command"]
    return subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "DPKG_ADMINDIR": str(admin)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def admin(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "info").mkdir()
    (tmp_path / "updates").mkdir()
    entry = (
        "Package: {name}\nStatus: {state}\nMaintainer: A <a@example.org>\nArchitecture: amd64\n"
        "Version: 1:2.0-3\nDescription: a package\n"
    )
    pending = "Triggers-Pending: ldconfig\n"
    text = "\n".join(
        entry.format(name=name, state=state) + (pending if "pending" in state else "")
        for name, state in STATES.items()
    )
    (tmp_path / "status").write_text(text)
    return tmp_path


def test_what_was_removed_is_not_in_the_image(admin: pathlib.Path) -> None:
    done = listed(admin)
    assert done.returncode == 0, done.stderr
    names = {line.split()[0] for line in done.stdout.splitlines()}
    assert names == {"whole", "held", "waiting", "unpacked"}
    assert "whole 1:2.0-3 amd64" in done.stdout.splitlines()


def test_a_database_that_cannot_be_read_is_no_empty_list(admin: pathlib.Path) -> None:
    (admin / "status").write_text("no database\n")
    assert listed(admin).returncode != 0
