# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The sandbox that a command in the image runs in: pure functions that make the argv."""

from __future__ import annotations

import dataclasses
import posixpath
import shlex
import typing as t

# What package managers and account tools need. Everything else is dropped: an image's script must not
# mount, load modules, make device nodes, set the clock, trace or reboot (capabilities(7)). Not
# CAP_DAC_READ_SEARCH: CAP_DAC_OVERRIDE reads as much, and open_by_handle_at(2) would with it open every file
# of a mounted file system, the build's keys on the tmpfs of /run among them.
CAPABILITIES = (
    "CAP_AUDIT_WRITE",
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

# Nothing of the controller's or builder's environment is passed on.
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LOGNAME": "root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/sh",
    "TERM": "dumb",
    "USER": "root",
}

# The descriptor of an empty file; /dev/null itself cannot be read where no device works.
EMPTY = "9"


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """Where the image is on the builder."""

    root: str
    run_dir: str
    device: str = ""
    root_device: str = ""

    def problem(self) -> str:
        """Say what is wrong with the options, or return an empty string."""
        for name, path in (("root", self.root), ("run_dir", self.run_dir)):
            if not path:
                return f"the option {name} is not set (variable image_{name.replace('_dir', '')})"
            if not path.startswith("/") or not posixpath.normpath(path).strip("/"):
                return f"the option {name} is '{path}': it must be an absolute path, and not /"
        return ""


def bwrap_argv(sandbox: Sandbox, command: str) -> t.List[str]:
    """Return the argv that runs *command* in the image with bwrap(1).

    Every mount is made in a namespace of the command's own, so none is left on the builder, and the root
    is changed by pivot_root(2), which, other than chroot(2), has no way back. bwrap makes the image's root
    nosuid and nodev.
    """
    argv = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    argv += ["--hostname", "localhost", "--bind", sandbox.root, "/", "--dev", "/dev"]
    # An empty /sys and no kernel command line: they are the builder's.
    argv += ["--proc", "/proc", "--ro-bind-data", EMPTY, "/proc/cmdline", "--tmpfs", "/sys"]
    # bwrap leaves /proc/sys writable for root, and with it the builder's kernel.core_pattern.
    argv += ["--remount-ro", "/proc"]
    argv += ["--bind", sandbox.run_dir, "/run", "--tmpfs", "/tmp", "--chmod", "1777", "/tmp"]
    if sandbox.device:
        # Under the name that it was mounted by, which grub-probe looks for, and under the one that it will have in the
        # machine, which GRUB's configuration names.
        argv += ["--dev-bind", sandbox.device, sandbox.device]
        if sandbox.root_device:
            argv += ["--symlink", sandbox.device, sandbox.root_device]
    argv += ["--cap-drop", "ALL"]
    for capability in CAPABILITIES:
        argv += ["--cap-add", capability]
    argv.append("--clearenv")
    for name, value in ENVIRONMENT.items():
        argv += ["--setenv", name, value]
    return [*argv, "--chdir", "/", "/bin/sh", "-c", command]


def shell_command(sandbox: Sandbox, command: str) -> str:
    """Return bwrap_argv as one line for the builder's shell.

    Modes of what is made in the image are not left to the builder's umask.
    The shell gives way to bwrap, whose --die-with-parent is then about who started the shell.
    """
    words = ("exec", *bwrap_argv(sandbox, command))
    return f"umask 022; {' '.join(shlex.quote(word) for word in words)} {EMPTY}</dev/null"


__all__ = (
    "CAPABILITIES",
    "EMPTY",
    "ENVIRONMENT",
    "Sandbox",
    "bwrap_argv",
    "shell_command",
)
