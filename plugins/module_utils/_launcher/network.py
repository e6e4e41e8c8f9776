# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""A network for a command, by slirp4netns(1), that does not lead to the builder's loopback."""

from __future__ import annotations

import fcntl
import os
import select
import struct

from . import kernel, processes
from .request import STOPPED, SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing as t

    from .request import Settings

SLIRP_SECONDS = 20
# Where clouds answer a machine with its credentials: link-local addresses for most of them, and the addresses of
# Alibaba, Oracle and Azure that are not link-local.
METADATA = (
    ("169.254.0.0", "255.255.0.0"),
    ("100.100.100.200", "255.255.255.255"),
    ("192.0.0.192", "255.255.255.255"),
    ("168.63.129.16", "255.255.255.255"),
)
_SIOCADDRT, _RTF_UP, _RTF_REJECT = 0x890B, 1, 0x200


def name_servers() -> t.List[str]:
    """Return the builder's name servers that are not on its loopback.

    The image reaches every port of the first one at 10.0.2.3.
    """
    found: t.List[str] = []
    # The second file has the servers that systemd-resolved asks.
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = [line.split() for line in file]
        except OSError:
            continue
        found += [it[1] for it in lines if len(it) > 1 and it[0] == "nameserver"]
    return [it for it in found if ":" not in it and not it.startswith(("127.", "0."))]


def connect(settings: Settings, pid: int, resolv_conf: str) -> None:
    """Connect the network namespace of *pid* to the builder's network, until the namespace ends.

    slirp4netns does not lead to the builder's loopback, unless its name server is there.
    """
    servers = name_servers()
    if not servers:
        raise SandboxError(
            "the builder's name server is on its loopback, which an image must not reach: name another one, with"
            " an IPv4 address, in /etc/resolv.conf or /run/systemd/resolve/resolv.conf"
        )
    with open(resolv_conf, "w", encoding="ascii") as file:
        file.write("".join(f"nameserver {it}\n" for it in servers))
    os.chmod(resolv_conf, 0o644)
    if not settings.slirp4netns:
        raise SandboxError(
            "slirp4netns is not installed on the builder, and this command needs a network"
        )
    ready, told = os.pipe()
    argv = [settings.slirp4netns, "--configure", "--mtu=65520", "--disable-host-loopback"]
    argv += ["--enable-sandbox", f"--ready-fd={told}", "--netns-type=path"]
    process = os.fork()
    if process == 0:
        try:
            processes.end_with_parent()
            os.set_inheritable(told, True)
            silent = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(silent, number)
            kernel.unshare(kernel.NEW_MOUNTS)
            kernel.make_mounts_private()
            kernel.mount(resolv_conf, "/etc/resolv.conf", flags=kernel.BIND)
            os.execve(settings.slirp4netns, [*argv, f"/proc/{pid}/ns/net", "tap0"], {})  # noqa: S606
        finally:
            os._exit(STOPPED)
    os.close(told)
    try:
        if not select.select([ready], [], [], SLIRP_SECONDS)[0] or not os.read(ready, 1):
            raise SandboxError(
                "slirp4netns gives no network: see whether it runs by itself on the builder"
            )
    finally:
        os.close(ready)


def refuse_metadata() -> None:
    """Add routes that refuse METADATA.

    An image cannot remove them: it lacks CAP_NET_ADMIN. An entry is struct rtentry of linux/route.h.
    """
    # Not at the top: few commands have a network, and this module takes milliseconds to load.
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        for network, mask in METADATA:
            addresses = [
                struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(it))
                for it in (network, "0.0.0.0", mask)  # noqa: S104 - no gateway
            ]
            entry = struct.pack("L16s16s16sH", 0, *addresses, _RTF_UP | _RTF_REJECT)
            fcntl.ioctl(handle, _SIOCADDRT, entry.ljust(120, b"\0"))
