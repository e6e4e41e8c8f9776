# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Install a distribution from its packages into a tar, with mmdebstrap(1)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import release
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import network
from ansible_collections.sealedroot.image.plugins.module_utils._source import cache
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures, mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    Runner,
    SealedRootError,
)

SECONDS = 1800
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# By a file for as long as mmdebstrap runs: --aptopt would leave it in the image.
_CONF = '"$1/etc/apt/apt.conf.d/00sealedroot"'
STALE_LISTS = (
    f"--setup-hook=echo 'Acquire::Check-Valid-Until \"false\";' >{_CONF}",
    f"--customize-hook=rm {_CONF}",
)


def builder_mirror(runner: Runner) -> str:
    """Return the Debian mirror of the builder, which is near and reachable; empty if it has none."""
    try:
        apt_get = runner.find("apt-get")
    except MissingToolError:
        return ""
    argv = [apt_get, "indextargets", "--format", "$(REPO_URI)"]
    argv += ["Identifier: Packages", "Origin: Debian"]
    lines = runner.run(argv, check=False, timeout=60).stdout.splitlines()
    return next((line for line in lines if "security" not in line), "")


def recipe(params: t.Mapping[str, t.Any]) -> t.List[str]:
    """Return the options of mmdebstrap that determine the root."""
    return [
        "--variant=minbase",
        f"--architectures={architectures.find(params['architecture']).debian}",
        f"--include={','.join(params['packages'])}",
        *(f"--include={pattern}" for pattern in params["patterns"]),
    ]


def check(params: t.Mapping[str, t.Any]) -> None:
    """Refuse words that mmdebstrap takes for options."""
    if not _RELEASE.fullmatch(params["release"]):
        raise SealedRootError(
            f"the release '{params['release']}' is none: write its name, such as bookworm"
        )
    if params["mirror"].startswith("-"):
        raise SealedRootError("the mirror is an option of mmdebstrap: write its URL")


@contextlib.contextmanager
def _open_to_apt(runner: Runner, path: str) -> t.Iterator[None]:
    """Make a directory that the user _apt can enter, in which mmdebstrap works; remove what it left there."""
    _clear(runner, path)
    os.mkdir(path)
    os.chmod(path, 0o755)  # noqa: S103 - _apt enters it, and the tree has its own modes
    try:
        yield
    finally:
        _clear(runner, path)


def _clear(runner: Runner, path: str) -> None:
    # The builder's own /sys and /dev can still be mounted there.
    for mount in reversed(mounts.read()):
        if mounts.is_below(mount.path, path):
            release.unmount(runner, mount)
    if os.path.lexists(path):
        shutil.rmtree(path)


def bootstrap(runner: Runner, params: t.Mapping[str, t.Any], path: str, work_dir: str) -> None:
    """Install the distribution into the tar *path*."""
    mirror = params["mirror"] or builder_mirror(runner)
    # The builder's own mirror can be a snapshot, and its apt is told so.
    is_stale = not params["mirror"] and not network.checks_valid_until(runner)
    epoch = params["source_date_epoch"]
    env = {
        # The build makes the initramfs, which takes longer than everything else here.
        "INITRD": "No",
        "TMPDIR": work_dir,
        **({"SOURCE_DATE_EPOCH": str(epoch)} if epoch else {}),
    }
    # The module builder_info has checked that programs of the architecture run.
    argv = [runner.find("mmdebstrap"), "--quiet", "--skip=check/qemu", *recipe(params)]
    argv += [
        *(STALE_LISTS if is_stale else ()),
        params["release"],
        path,
        *([mirror] if mirror else []),
    ]
    runner.run(argv, env=env, timeout=SECONDS)


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Return the path of the tar, whose name contains everything that determines the root; make it if it is missing."""
    check(params)
    determined = [recipe(params), params["mirror"], params["source_date_epoch"]]
    digest = hashlib.sha256(json.dumps(determined).encode()).hexdigest()[:16]
    name = f"{params['distribution']}-{params['release']}-{digest}"
    path = os.path.join(params["cache_dir"], f"{name}.tar")
    if os.path.exists(path) or check_mode:
        return {"changed": not os.path.exists(path), "path": path}
    with cache.claimed(params["cache_dir"], name) as scratch:
        if os.path.exists(path):
            return {"changed": False, "path": path}
        partial = os.path.join(scratch, "root.tar")
        work_dir = os.path.join(params["cache_dir"], f"{name}.tmp")
        with _open_to_apt(runner, work_dir):
            bootstrap(runner, params, partial, work_dir)
        cache.keep(partial, path)
    return {"changed": True, "path": path}


__all__ = ("STALE_LISTS", "ensure", "recipe")
