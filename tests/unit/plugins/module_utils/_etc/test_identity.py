# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which lines are SSH public keys. Those of this file were made by ssh-keygen."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc.identity import is_public_key

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIORAG3Zq4Jj/dRSFILSqH3dVSYxKUzZ06Vk4+apulQRC"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNZ3eOQGV+BKxUwCW7"
    "v3xuQFE0vgfD/MyN7RInfGW3HpfD3z/OxNRGaPBt4Yuzr4xc92MxPOs1bslp+v/gNBD+M="
)


def blob(*parts: bytes) -> str:
    return base64.b64encode(b"".join(len(it).to_bytes(4, "big") + it for it in parts)).decode()


SECURITY_KEY = "sk-ssh-ed25519@openssh.com"
ECDSA_SECURITY_KEY = "sk-ecdsa-sha2-nistp256@openssh.com"
CERTIFICATE = "ssh-ed25519-cert-v01@openssh.com"


GOOD_OPTIONS = (
    *('command=""', 'from="127.0.0.1"', 'from="10.0.0.0/8"', 'from="!10.0.0.1,*.example.org"'),
    *('from="10.0.0.0/8,fd00::/8,!10.1.0.0/16"', 'from="*"', 'from="127.0.0.1, *"'),
    *('expiry-time="20300101Z"', 'expiry-time="203001011200"', 'expiry-time="20300101120000Z"'),
    'expiry-time="20300101",expiry-time="20310101"',
    *('environment="A=b"', 'environment="A="', 'environment="A=b",environment="A=c"'),
    *('permitopen="host:22"', 'permitopen="host:*"', 'permitopen="[::1]:22"', 'permitopen=":22"'),
    *('permitopen="host:ssh"', 'permitopen="a:1",permitopen="b:65535"'),
    *('permitlisten="8080"', 'permitlisten="host:8080"', 'permitlisten="*"'),
    *('tunnel="0"', 'tunnel="any"', 'tunnel="0",tunnel="1"'),
    *('cert-authority,principals="a,b"', "no-pty,pty", "no-touch-required", "no-x11-forwarding"),
)
BAD_OPTIONS = (
    *('command="a",command="b"', 'from="a",FROM="b"', 'command="a"pty', 'command="a" ,pty'),
    *("command", "pty=", 'restrict="x"', "no-restrict", "no-cert-authority", "command='a'"),
    *('from=""', 'from="127.0.0.1,"', 'from="127.0.0.1/8"', 'from="127.0.0.1,10.0.0.1/24"'),
    *('from="127.0.0.1/33"', 'from="127.0.0.1/x"'),
    *('expiry-time=""', 'expiry-time="2030"', 'expiry-time="x"', 'expiry-time="20301301"'),
    'expiry-time="2030010112"',
    *('environment=""', 'environment="A"', 'environment="=b"', 'environment="A-B=c"'),
    *('permitopen=""', 'permitopen="host"', 'permitopen="host:0"', 'permitopen="host:99999"'),
    *('permitlisten=""', 'permitlisten="host:0"', 'permitlisten="65536"'),
    *('tunnel=""', 'tunnel="x"', 'tunnel="99999999999"'),
    *('principals="a"', 'principals=""', 'cert-authority,principals="a",principals="b"'),
)


@pytest.mark.parametrize(
    ("line", "good"),
    [
        (ED25519, True),
        (f"{ED25519} ada@example.org, at home\n", True),
        (f'from="10.0.0.0/8",command="echo hi there" {ED25519} ada', True),
        (ECDSA, True),
        (f"ssh-rsa {blob(b'ssh-rsa', b'e', b'n' * 384)}", True),
        (f"{SECURITY_KEY} {blob(SECURITY_KEY.encode(), b'p' * 32, b'ssh:')}", True),
        (
            f"{ECDSA_SECURITY_KEY}"
            f" {blob(ECDSA_SECURITY_KEY.encode(), b'nistp256', b'p' * 65, b'ssh:')}",
            True,
        ),
        (f'restrict,pty,No-Touch-Required,expiry-time="20300101" {ED25519}', True),
        (f'command="a \\"b, c\\" d\\n"\t{ED25519}', True),
        (f"cert-authority {ED25519}", True),
        # Words before the key that sshd does not know, or a value that does not end.
        (f"web-1 {ED25519}", False),
        (f"# {ED25519}", False),
        (f"- {ED25519}", False),
        (f"no-command {ED25519}", False),
        (f"restrict pty {ED25519}", False),
        (f"from=10.0.0.1 {ED25519}", False),
        (f'from="10.0.0.0/8 {ED25519}', False),
        (f'command="a\\" {ED25519}', False),
        # A slip, which sshd passes over.
        (f"restrict, {ED25519}", False),
        # What sshd 9.2 said of each value when somebody logged in with the key; an option more than once.
        *((f"{it} {ED25519}", True) for it in GOOD_OPTIONS),
        *((f"{it} {ED25519}", False) for it in BAD_OPTIONS),
        (f"{ED25519}=", False),
        (f"{ED25519}====", False),
        # Parts of a wrong length or number, a type that sshd does not take, and a certificate.
        (f"ssh-ed25519 {blob(b'ssh-ed25519', b'p' * 20)}", False),
        (f"ssh-ed25519 {blob(b'ssh-ed25519', b'p' * 32, b'p')}", False),
        (f"ssh-rsa {blob(b'ssh-rsa', b'n' * 384)}", False),
        (f"ssh-rsa {blob(b'ssh-rsa', b'e', b'n' * 96)}", False),
        (
            f"ecdsa-sha2-nistp384 {blob(b'ecdsa-sha2-nistp384', b'nistp256', b'p' * 97)}",
            False,
        ),
        (f"ssh-foo {blob(b'ssh-foo', b'p' * 32)}", False),
        (f"ssh-dss {blob(b'ssh-dss', b'p' * 129, b'q' * 21, b'g' * 128, b'y' * 128)}", False),
        (f"{CERTIFICATE} {blob(CERTIFICATE.encode(), b'n' * 32, b'p' * 32)}", False),
        # Torn, of another type, without anything after the type, with more behind.
        (ED25519[:-8], False),
        (ED25519.replace("ssh-ed25519", "ssh-rsa"), False),
        (f"ssh-rsa {blob(b'ssh-rsa')}", False),
        (f"ssh-rsa {blob(b'ssh-rsa', b'')}", False),
        (f"ssh-rsa {base64.b64encode(b'xx').decode()}", False),
        (f"{ED25519}AA=", False),
        (ED25519.split()[1], False),
        (f"{ED25519}\n{ED25519}", False),
        ("ssh-ed25519 AAAA... me@example.org", False),
        ("", False),
    ],
)
def test_lines_of_authorized_keys(line: str, good: bool) -> None:
    assert is_public_key(line) is good
