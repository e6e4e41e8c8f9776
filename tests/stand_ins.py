# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-ins for distributions: built, audited, booted, given a newer kernel, booted again; see helpers/stand_ins.py.

usage: ./run standins [-- NAME...]

Ends with a line like «standins: 2 built, 2 audited, 4 booted», and with 1 when something failed.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "helpers"))

import stand_in_life  # by the path that was just added

LOGS = pathlib.Path(__file__).resolve().parents[1] / ".cache" / "standins"


def main(names: list[str]) -> int:
    """Let each of them live, one after the other, and say how it went."""
    began = time.monotonic()
    results = []
    for it in stand_in_life.select(names):
        with tempfile.TemporaryDirectory(prefix="sealedroot-standins-", dir="/var/tmp") as folder:
            result = stand_in_life.play(it, pathlib.Path(folder), LOGS)
        results.append(result)
        print(f"{time.monotonic() - began:5.0f} s  {it.name}: {result.verdict}", flush=True)
        for line in result.seen:
            print(f"         {line}")
    print(stand_in_life.summary(results))
    failed = [result for result in results if result.verdict != stand_in_life.LIVED]
    if failed:
        print(f"the logs of what failed are in {LOGS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
