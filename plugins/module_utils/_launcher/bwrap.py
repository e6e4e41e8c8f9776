# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The argv of bwrap(1) for a command of an image: pure, but for looking at the builder's /proc and memory."""

from __future__ import annotations

import os

from . import limits
from .request import DISK, IN_IMAGE, LASTING_TMP, OUTPUT, PYTHON, SECRETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing as t

    from .request import Options, Places, Settings

# Where the image is while Python starts: see python_argv.
OUTSIDE = "/image"

# What package managers and account tools need. Everything else is dropped: a script of the image must not mount, load
# modules, make device nodes, set the clock, trace or reboot (capabilities(7)). CAP_DAC_READ_SEARCH is left out because
# open_by_handle_at(2) would open every file of a mounted file system with it; CAP_DAC_OVERRIDE suffices for reading.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

# The whole environment: the image gets no variable of the controller or the builder.
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LOGNAME": "root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/sh",
    "TERM": "dumb",
    "USER": "root",
}
# For our own Python: its C library and OpenSSL would load libraries that files of the image name.
PYTHON_ENVIRONMENT = {"LC_ALL": "C", "OPENSSL_CONF": "/dev/null"}

# Files of /proc that are about the builder and that root of any namespace may read (proc(5)).
HIDDEN = ("cmdline", "kallsyms", "kcore", "key-users", "keys", "kmsg", "sched_debug", "timer_list")

SHARED_MEMORY = 64 * limits.MIB


def bwrap_argv(options: Options, settings: Settings, at: Places, *, seccomp: int) -> t.List[str]:
    """Return the argv of bwrap(1), which reads the filter of system calls from the descriptor *seccomp*.

    bwrap mounts in a mount namespace of the command, so no mount is left on the builder. It changes the root by
    pivot_root(2), from which there is no way back, as there is from chroot(2). It makes the image's root nosuid and
    nodev.
    """
    image = OUTSIDE if options.is_python else ""
    argv = [at.bwrap, "--die-with-parent", "--new-session", "--hostname", "localhost"]
    argv += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += [] if options.network else ["--unshare-net"]
    # As process 1, a module keeps its streams from all other processes. For a shell's command bwrap is process 1, and
    # every process can open bwrap's streams.
    argv += ["--as-pid-1"] if options.is_python else []
    argv += ["--seccomp", str(seccomp)]
    argv += ["--bind", at.root, image or "/", "--dev", f"{image}/dev"]
    argv += ["--size", str(SHARED_MEMORY), "--perms", "1777", "--tmpfs", f"{image}/dev/shm"]
    if at.device:
        # grub-probe looks for the name by which the root was mounted; GRUB's configuration names the device as the
        # machine will.
        argv += ["--dev-bind", at.device, f"{image}{options.device}"]
        if options.root_device:
            argv += ["--symlink", options.device, f"{image}{options.root_device}"]
    argv += ["--remount-ro", f"{image}/dev", *proc_options(at.empty, f"{image}/proc")]
    # /sys stays empty, since it would show the builder's devices.
    argv += ["--size", str(limits.MIB), "--tmpfs", f"{image}/sys", "--remount-ro", f"{image}/sys"]
    argv += ["--bind", f"{at.own}/run", f"{image}/run"]
    argv += _given(options, at, image)
    if options.lasting_tmp:
        argv += ["--bind", f"{at.own}/{LASTING_TMP}", f"{image}/tmp"]
    else:
        argv += ["--size", str(limits.memory() // 2), "--perms", "1777", "--tmpfs", f"{image}/tmp"]
    argv += ["--cap-drop", "ALL"]
    for capability in CAPABILITIES:
        argv += ["--cap-add", capability]
    environment = {**ENVIRONMENT, **options.environment}
    if not options.is_python:
        program = ["/bin/sh", "-c", *options.arguments]
    else:
        argv += ["--ro-bind", at.given, IN_IMAGE, "--remount-ro", "/"]
        program = python_argv(settings.loader, options.arguments)
        for name in PYTHON_ENVIRONMENT:
            if name in environment:
                environment[f"SEALEDROOT_{name}"] = environment[name]
        environment.update(PYTHON_ENVIRONMENT, SEALEDROOT_IMAGE=OUTSIDE)
    return [*argv, *_environment(environment), "--chdir", "/", "--", *program]


def proc_options(empty: str, path: str) -> t.List[str]:
    """Return the options for a read-only /proc of the command's processes, with the file *empty* over HIDDEN.

    Without the remount root could write the builder's settings that are in it.
    """
    argv = ["--proc", path]
    for name in HIDDEN:
        if os.path.exists(f"/proc/{name}"):
            argv += ["--ro-bind", empty, f"{path}/{name}"]
    return [*argv, "--remount-ro", path]


def _environment(values: t.Mapping[str, str]) -> t.List[str]:
    return [word for name, value in values.items() for word in ("--setenv", name, value)]


def _given(options: Options, at: Places, image: str) -> t.List[str]:
    """Return the options for what the builder gives, read-only, and for where it takes files from the image."""
    argv = ["--ro-bind", at.given, f"{image}{IN_IMAGE}"]
    argv += ["--bind", f"{at.own}/tmp", f"{image}{IN_IMAGE}/tmp"]
    for name in SECRETS if options.secrets else ():
        argv += ["--ro-bind", f"{at.secrets}/{name}", f"{image}{IN_IMAGE}/{name}"]
    if options.output:
        argv += ["--bind", f"{at.own}/{OUTPUT}", f"{image}{IN_IMAGE}/{OUTPUT}"]
    if at.disk:
        argv += ["--ro-bind", at.disk, f"{image}{IN_IMAGE}/{DISK}"]
    return argv


def python_argv(loader: str, arguments: t.Sequence[str]) -> t.List[str]:
    """Return the argv of the builder's Python, which starts outside of the image.

    There is no /etc outside, so the loader cannot obey an /etc/ld.so.preload of the image. sitecustomize changes the
    root before any other code runs. Without -I, Python would import modules from the current directory.
    """
    libraries = f"{PYTHON}/libs"
    argv = [f"{libraries}/{loader}", "--inhibit-cache", "--library-path", libraries]
    return [*argv, f"{PYTHON}/bin/python3", "-I", "-B", "-X", "utf8", *arguments]
