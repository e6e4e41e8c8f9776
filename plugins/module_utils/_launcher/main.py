# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Run one command of an image in its sandbox on the builder.

bwrap(1) makes the sandbox. This package first does what bwrap has no options for: a session keyring, ids that belong to
nobody on the builder, a network without the builder's loopback, limits, and an end.

The module image_runtime puts the package on the builder. There is no Ansible, so it imports itself by relative names
and else the standard library only. It runs for every command, so it imports what loads quickly.

docs/sandbox.md says what a command in an image can reach, and which test shows it.
"""

from __future__ import annotations

import os
import sys

from . import bwrap, ids, kernel, limits, mounts, network, processes
from .request import SAYS, STOPPED, Options, Places, SandboxError, Settings, check_root


def _begin(
    options: Options,
    settings: Settings,
    at: Places,
    *,
    seccomp: int,
    namespace: int,
    ready: int,
    go: int,
    alive: int,
) -> None:
    """Become bwrap, in the child of :func:`run`. Ask for a network by *ready*, and wait for it at *go*."""
    processes.end_with_parent(alive)
    kernel.unshare(kernel.NEW_MOUNTS | (kernel.NEW_NETWORK if options.network else 0))
    if options.network:
        os.write(ready, b"+")
        if not os.read(go, 1):
            os._exit(STOPPED)
        network.refuse_metadata()
    # As root of the builder: after sudo, root of an image cannot raise the limit (docs/facts.md: sudo-core-limit).
    limits.limit_process()
    kernel.make_mounts_private()
    if not settings.maps_ids:
        mounts.detach_all_but(at.bwrap, at.root, at.given, at.own, at.disk)
        mounts.protect(at.bwrap, "/dev")
    else:
        # Who may write to a device may also set the times of its node.
        mounts.protect("/dev")
        ids.map_ids(at, settings, namespace, probe=bool(options.probe))
        processes.end_with_parent(alive)
        limits.limit_user()
    os.umask(0o022)
    os.set_inheritable(seccomp, True)
    argv = bwrap.bwrap_argv(options, settings, at, seccomp=seccomp)
    os.execve(at.bwrap, argv, {})  # noqa: S606 - a sandbox is started without a shell


def run(options: Options, settings: Settings, runtime: str) -> int:
    """Run the command and return its status. What it prints goes to our own standard output and error."""
    at = Places(runtime, options)
    check_root(options, at)
    kernel.join_session_keyring(settings.keyctl)
    if os.isatty(0):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # The descriptor is open until this process ends, and the loop device lives as long.
    at.device, _held = mounts.read_only_loop(options.device) if options.device else ("", -1)
    group = limits.ControlGroup()
    group.remove_later()
    group.make()
    seccomp = os.open(f"{runtime}/sandbox/filter.bpf", os.O_RDONLY)
    outputs = [os.pipe(), os.pipe()]
    if settings.maps_ids:
        # Many scripts open /dev/stderr and the like by name, which takes the permission of the pipe's owner.
        for handle in (0, outputs[0][1], outputs[1][1]):
            # Only pipes without a name: a named one is a file of somebody else.
            if os.readlink(f"/proc/self/fd/{handle}").startswith("pipe:"):
                os.fchown(handle, ids.FIRST_ID, ids.FIRST_ID)
    ready, go, alive = os.pipe(), os.pipe(), os.pipe()
    namespace = ids.user_namespace() if settings.maps_ids else -1
    # The first child is the init of a process namespace that has all other children, too. It ends with this process,
    # and then the kernel ends whatever bwrap and the image have started.
    kernel.unshare(kernel.NEW_PROCESSES)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(alive[1])
            for number, (_reading, writing) in enumerate(outputs, start=1):
                os.dup2(writing, number)
            os.close(go[1])
            group.enter()
            ends = {"ready": ready[1], "go": go[0], "alive": alive[0]}
            _begin(options, settings, at, seccomp=seccomp, namespace=namespace, **ends)
        except BaseException as exc:
            os.write(2, f"{SAYS}{exc}\n".encode())
        finally:
            os._exit(STOPPED)
    for handle in (outputs[0][1], outputs[1][1], ready[1], go[0], seccomp):
        os.close(handle)
    stopped = "it was interrupted"
    try:
        if options.network and os.read(ready[0], 1):
            network.connect(settings, pid, f"{runtime}/sandbox/resolv.conf")
            os.write(go[1], b"+")
        stopped = processes.pass_on([outputs[0][0], outputs[1][0]], int(options.deadline))
    finally:
        if stopped:
            os.kill(pid, kernel.SIGKILL)
        status = processes.wait_for(pid)
    if stopped:
        raise SandboxError(stopped)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def main() -> int:
    """Run what the arguments ask for."""
    processes.end_with_parent()
    processes.close_on_exec()
    runtime = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
    try:
        with open(f"{runtime}/sandbox/settings", encoding="utf-8") as file:
            settings = Settings(file.read())
        return run(Options(sys.argv[1:]), settings, runtime)
    except (OSError, SandboxError) as exc:
        # The message starts on a new line, even if the command's output does not end with one.
        os.write(2, f"\n{SAYS}{exc}\n".encode())
        return STOPPED
