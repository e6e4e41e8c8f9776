# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""TPMs, as tpm2_getcap shows them, and what is said of each."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_words

# tpm2-tools 5.4 and swtpm 0.7.1.
SWTPM = """TPM2_PT_YEAR:
  raw: 0x7E5
TPM2_PT_MANUFACTURER:
  raw: 0x49424D00
  value: "IBM"
TPM2_PT_VENDOR_STRING_1:
  raw: 0x53572020
  value: "SW"
TPM2_PT_VENDOR_STRING_2:
  raw: 0x2054504D
  value: "TPM"
TPM2_PT_VENDOR_STRING_3:
  raw: 0x0
  value: ""
TPM2_PT_VENDOR_STRING_4:
  raw: 0x0
  value: ""
TPM2_PT_VENDOR_TPM_TYPE:
  raw: 0x1
"""


def other(manufacturer: bytes, vendor: bytes = b"") -> str:
    lines = [f"TPM2_PT_MANUFACTURER:\n  raw: 0x{manufacturer.hex().upper()}"]
    for number, at in enumerate(range(0, len(vendor), 4), 1):
        lines.append(f"TPM2_PT_VENDOR_STRING_{number}:\n  raw: 0x{vendor[at : at + 4].hex()}")
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        (SWTPM, ("IBM", "SW TPM")),
        (other(b"IFX\0", b"SLB9672\0"), ("IFX", "SLB9672")),
        (other(b"MSFT"), ("MSFT", "")),
        # What could say something to a terminal, or begin a line of its own.
        (other(b"\x1b[2J", b"a\n\x9b\xffhost"), ("[2J", "a host")),
        ("", ("", "")),
        ("TPM2_PT_MANUFACTURER:\n  raw: none\n", ("", "")),
        ("TPM2_PT_MANUFACTURER:\n  raw: 0x0\n", ("", "")),
    ],
)
def test_who_made_it(properties: str, found: tuple[str, str]) -> None:
    assert tpm_words.maker(properties) == found


MADE = "The TPM says that {} made it ({})."
PROGRAM = "That is what swtpm says, a program, and whoever runs that has the key, such as the host."
ANY = "That proves nothing, and whoever runs the TPM has the key."
COMPUTED = (
    "It compares registers 4, 8, 9 with what they are when this root's GRUB asks for the key."
)
TAKEN = "It compares register{} with what is there now, whatever that is."
LEFT = (
    "It does not compare register{}, so other firmware and drivers of the host's can have the key."
)


@pytest.mark.parametrize(
    ("properties", "pcrs", "sentences"),
    [
        (
            SWTPM,
            [4, 7, 8, 9],
            [
                MADE.format("IBM", "SW TPM"),
                PROGRAM,
                COMPUTED,
                TAKEN.format(" 7"),
                LEFT.format("s 0, 2"),
            ],
        ),
        (
            other(b"IFX\0", b"SLB9672\0"),
            [0, 2, 4, 7, 8, 9],
            [MADE.format("IFX", "SLB9672"), ANY, COMPUTED, TAKEN.format("s 0, 2, 7")],
        ),
        # IBM's own hardware is no swtpm.
        (
            other(b"IBM\0"),
            [0, 4, 8, 9],
            [
                MADE.format("IBM", "it says no more"),
                ANY,
                COMPUTED,
                TAKEN.format(" 0"),
                LEFT.format(" 2"),
            ],
        ),
        (
            "",
            [4, 8, 9],
            ["The TPM does not say who made it.", ANY, COMPUTED, LEFT.format("s 0, 2")],
        ),
    ],
    ids=range(4),
)
def test_what_is_said(properties: str, pcrs: list[int], sentences: list[str]) -> None:
    assert tpm_words.said(properties, pcrs) == sentences
