# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import request


@pytest.mark.parametrize("words", [[], ["root=/w"], ["unknown=1", "secrets=1"]])
def test_a_command_is_needed(words):
    with pytest.raises(request.SandboxError):
        request.Options(words)


@pytest.mark.parametrize("name", request.MOUNT_POINTS)
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_root_that_would_lead_a_mount_elsewhere_is_refused(tmp_path, name, kind):
    root = tmp_path / "root"
    (tmp_path / "run/own/run/sealedroot").mkdir(parents=True)
    root.mkdir()
    options = request.Options([f"root={root}", "shell", "true"])
    at = request.Places(str(tmp_path / "run"), options)
    request.check_root(options, at)
    if kind == "link":
        (root / name).symlink_to("/etc")
    else:
        (root / name).touch()
    with pytest.raises(request.SandboxError, match=f"/{name} of the image is not a directory"):
        request.check_root(options, at)


def test_a_gate_that_is_a_link_is_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "run/own/run").mkdir(parents=True)
    (tmp_path / "run/own/run/sealedroot").symlink_to(root)
    options = request.Options([f"root={root}", "shell", "true"])
    with pytest.raises(request.SandboxError, match="run the module image_runtime"):
        request.check_root(options, request.Places(str(tmp_path / "run"), options))
