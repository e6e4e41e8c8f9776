# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What identifies one machine, so that clones of an image must not share it. Pure.

The build removes what is made anew, the audit looks for the same, and what is not made anew is named to the user.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import ipaddress
import os
import re
import struct
import typing as t

# Where dhcpcd keeps its state, by version and distribution.
_DHCPCD = ("/var/db/dhcpcd", "/var/lib/dhcpcd", "/var/lib/dhcpcd5")
# Patterns of glob(7), with wildcards in the last component only. Programs create these again, or can do without them.
SHARED_BY_CLONES = (
    # docs/facts.md: dhcpcd-files.
    *("/etc/dhcpcd.duid", "/etc/dhcpcd.secret"),
    *(f"{top}/{name}" for top in _DHCPCD for name in ("duid", "secret", "*.lease*")),
    # Of systemd-boot (docs/facts.md: random-seeds).
    *(f"{top}/loader/random-seed" for top in ("/boot", "/boot/efi", "/efi")),
    # salt-minion makes a key, and an ID from the host name, when it starts without; the second is SUSE's.
    *(
        f"/etc/{top}/{name}"
        for top in ("salt", "venv-salt-minion")
        for name in ("minion_id", "pki/minion/minion.pem", "pki/minion/minion.pub")
    ),
    "/etc/ssh/ssh_host_*",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/var/lib/NetworkManager/*.lease",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/cloud/data/*",
    "/var/lib/cloud/instance",
    "/var/lib/cloud/instances/*",
    "/var/lib/dhclient/*.lease*",
    "/var/lib/dhcp/*.lease*",
    # Of wide-dhcpv6-client.
    "/var/lib/dhcpv6/dhcp6c_duid",
    "/var/lib/misc/random-seed",
    "/var/lib/random-seed",
    # Of OpenRC and BusyBox (docs/facts.md: random-seeds).
    "/var/lib/seedrng/*",
    # Of a machine that was enrolled (module_utils/_grub/tpm_program.py).
    "/var/lib/sealedroot-tpm/*",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/wicked/*.xml",
    # docs/facts.md: zypp-id.
    "/var/lib/zypp/AnonymousUniqueId",
)
# What the table holds, in words: the audit claims no more.
SHARED = "SSH host key, Salt key, random seed, DHCP lease or ID, secret of systemd's credentials or cloud-init instance"
# The first is emptied in an image, the second removed (machine-id(5)).
MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
# What nothing makes anew when a machine starts, by its description (docs/facts.md: keys-of-machines).
NOT_MADE_ANEW: t.Mapping[str, t.Tuple[str, ...]] = {
    "AWS Systems Manager registration": ("/var/lib/amazon/ssm/Vault/Store/*",),
    "Azure agent key": ("/var/lib/waagent/*.prv",),
    "Chef client key": ("/etc/chef/client.pem",),
    "dropbear host key": (
        "/etc/dropbear/dropbear_*_host_key",
        "/etc/dropbear/initramfs/dropbear_*_host_key",
        "/etc/dropbear-initramfs/dropbear_*_host_key",
        "/etc/initramfs-tools/etc/dropbear/dropbear_*_host_key",
    ),
    "host ID": ("/etc/hostid",),
    "iSCSI initiator name": ("/etc/iscsi/initiatorname.iscsi",),
    "Kerberos keytab": ("/etc/krb5.keytab",),
    "NVMe host ID or name": ("/etc/nvme/hostid", "/etc/nvme/hostnqn"),
    "Puppet key": (
        "/etc/puppetlabs/puppet/ssl/private_keys/*.pem",
        "/var/lib/puppet/ssl/private_keys/*.pem",
    ),
    "Red Hat Insights ID": ("/etc/insights-client/machine-id",),
    "Red Hat subscription": ("/etc/pki/consumer/key.pem",),
    "Samba machine account": ("/var/lib/samba/private/secrets.tdb",),
    "self-made certificate": (
        "/etc/cockpit/ws-certs.d/0-self-signed.key",
        "/etc/ssl/private/ssl-cert-snakeoil.key",
    ),
    "snapd device key": ("/var/lib/snapd/device/private-keys-v1/*",),
    "SUSE subscription": ("/etc/zypp/credentials.d/SCCcredentials",),
    # It signs the records of the users that are there.
    "systemd-homed key": ("/var/lib/systemd/home/local.private",),
    "Tailscale node": ("/var/lib/tailscale/tailscaled.state",),
    "Ubuntu Pro token": ("/var/lib/ubuntu-advantage/private/machine-token.json",),
    "Wazuh agent key": ("/var/ossec/etc/client.keys",),
    "WireGuard key": ("/etc/wireguard/*.conf", "/etc/wireguard/*.key"),
    "ZeroTier identity": ("/var/lib/zerotier-one/identity.secret",),
}
# Labels with dots between them; Linux keeps 64 characters (hostname(7)).
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOSTNAME = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(?:\.{_LABEL})*")
# Each has a digest of its own length (docs/facts.md: crypt-hashes).
CRYPT = re.compile(
    r"\$g?y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}"
    r"|\$7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}"
    r"|\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}"
    r"|\$6\$(?:rounds=[1-9][0-9]+\$)?[!-#%-9;-~]{1,16}\$[./0-9A-Za-z]{86}"
    r"|\$5\$(?:rounds=[1-9][0-9]+\$)?[!-#%-9;-~]{1,16}\$[./0-9A-Za-z]{43}"
    r"|\$1\$[!-#%-9;-~]{1,8}\$[./0-9A-Za-z]{22}"
)
# Keys that sshd lets in, with what follows the type: the lengths of the parts, or a part itself
# (docs/facts.md: authorized-keys). A certificate does not get in as a line of its own.
_POINTS = {"nistp256": 65, "nistp384": 97, "nistp521": 133}
_CURVES = {name: (name.encode(), range(length, length + 1)) for name, length in _POINTS.items()}
_ED25519 = range(32, 33)
_APPLICATION = range(1, 256)
_NUMBER = range(1, 2050)
_KEYS: t.Mapping[str, t.Tuple[t.Union[bytes, range], ...]] = {
    "ssh-rsa": (_NUMBER, range(129, _NUMBER.stop)),
    "ssh-ed25519": (_ED25519,),
    **{f"ecdsa-sha2-{name}": parts for name, parts in _CURVES.items()},
    "sk-ssh-ed25519@openssh.com": (_ED25519, _APPLICATION),
    "sk-ecdsa-sha2-nistp256@openssh.com": (*_CURVES["nistp256"], _APPLICATION),
}
_MOST_PARTS = 1 + max(map(len, _KEYS.values()))
# Options before a key, separated by commas; only a quoted value has blanks (sshd(8), AUTHORIZED_KEYS FILE FORMAT). sshd
# skips a line with a value that it does not understand (docs/facts.md: authorized-keys).
_FLAG = (
    "(?:no-)?(?:agent-forwarding|port-forwarding|pty|user-rc|X11-forwarding|touch-required|verify-required)"
    "|cert-authority|restrict"
)
_TEXT = r'(?:[^"\\]|\\"|\\(?!"))*'
_PLAIN = r'[^"\\]'
_PORT = r"(?:\*|[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]|[a-z][\w-]*)"
_VALUES = {
    "command": _TEXT,
    "environment": rf"\w+={_TEXT}",
    "expiry-time": (
        r"\d{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?Z?"
    ),
    "from": r'[^"\\,]+(?:,[^"\\,]+)*',
    "permitlisten": rf"(?:{_PLAIN}*:)?{_PORT}",
    "permitopen": rf"{_PLAIN}*:{_PORT}",
    "principals": rf"{_PLAIN}+",
    "tunnel": r"any|\d{1,9}",
}
_VALUE = "|".join(rf'{name}="(?:{value})"' for name, value in _VALUES.items())
_OPTION = re.compile(rf"(?:{_FLAG}|{_VALUE})", re.ASCII | re.IGNORECASE)
# Options that a line has once only.
_ONCE = ("command", "from", "principals")
_PUBLIC_KEY = re.compile(
    rf"(?:((?ai:{_OPTION.pattern}(?:,{_OPTION.pattern})*))[ \t]+)?({'|'.join(map(re.escape, _KEYS))})[ \t]+"
    r"([A-Za-z0-9+/]+={0,2})(?:[ \t].*)?"
)


def _are_options(text: str) -> bool:
    """Say whether options that are known one by one let a key in together."""
    options = [it[0].partition("=") for it in _OPTION.finditer(text)]
    names = [name.lower() for name, _equals, _value in options]
    # sshd takes principals for those of certificates only.
    is_for_certificates = "cert-authority" in names or "principals" not in names
    origins = dict(zip(names, (value.strip('"') for _name, _equals, value in options))).get(
        "from", ""
    )
    return (
        is_for_certificates
        and all(names.count(it) < 2 for it in _ONCE)
        and all(_is_network(it) for it in origins.split(",") if "/" in it)
    )


def _is_network(pattern: str) -> bool:
    """Say whether an address with a mask is that of a network: of another one, sshd lets nobody in by the line."""
    try:
        return bool(ipaddress.ip_network(pattern.lstrip("!")))
    except ValueError:
        return False


def is_public_key(line: str) -> bool:
    """Say whether a line of authorized_keys lets somebody in: known options and a whole SSH public key."""
    found = _PUBLIC_KEY.fullmatch(line.strip())
    # Python takes more of the signs at the end than sshd does.
    if not found or len(found.group(3)) % 4 or not _are_options(found.group(1) or ""):
        return False
    try:
        rest = base64.b64decode(found.group(3), validate=True)
    except binascii.Error:
        return False
    # Strings with their lengths (RFC 4253, 6.6).
    parts: t.List[bytes] = []
    while len(rest) >= 4 and len(parts) < _MOST_PARTS:
        (length,) = struct.unpack(">I", rest[:4])
        if len(rest) < 4 + length:
            return False
        parts.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    kind = found.group(2)
    wanted = (kind.encode(), *_KEYS[kind])
    return (
        not rest
        and len(parts) == len(wanted)
        and all(
            part == want if isinstance(want, bytes) else len(part) in want
            for part, want in zip(parts, wanted)
        )
    )


def present(patterns: t.Iterable[str], names: t.Callable[[str], t.Iterable[str]]) -> t.List[str]:
    """Return the paths that match *patterns*; *names* returns the names in a directory."""
    return [
        f"{directory}/{name}"
        for directory, base in map(os.path.split, patterns)
        for name in sorted(names(directory))
        if fnmatch.fnmatchcase(name, base)
    ]


__all__ = (
    "CRYPT",
    "HOSTNAME",
    "MACHINE_IDS",
    "NOT_MADE_ANEW",
    "SHARED",
    "SHARED_BY_CLONES",
    "is_public_key",
    "present",
)
