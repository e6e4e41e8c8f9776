# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests that run the playbook: real builds of a small Debian, and what they leave."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import typing as t

import pytest
from builds import DEBIAN, Place, playbook


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Place]:
    """A place that is checked to be clean at the end of the test."""
    it = Place(tmp_path_factory.mktemp("build"))
    yield it
    it.leaves_nothing()
    shutil.rmtree(it.path)


@pytest.fixture(scope="session")
def root_tar(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The tar of a minimal Debian, bootstrapped once on this machine by the collection itself."""
    play = tmp_path_factory.mktemp("source") / "source.yml"
    play.write_text(
        json.dumps(
            [
                {
                    "hosts": "localhost",
                    "gather_facts": False,
                    "tasks": [
                        {"ansible.builtin.import_role": {"name": "sealedroot.image.source"}},
                        {"ansible.builtin.debug": {"msg": "TAR={{ image_root_tar.path }}="}},
                    ],
                }
            ]
        )
    )
    run = playbook(str(play), {"image_source": DEBIAN, "image_size": "4GiB"}, timeout=1800)
    assert run.rc == 0, run.output
    match = re.search(r"TAR=(.*?)=", run.output)
    assert match
    return pathlib.Path(match.group(1))
