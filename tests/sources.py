# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One root from every type of source: built, compared with the root by rsync, and booted; see helpers/sources.py.

usage: ./run sources [-- ROW...]

Ends with a line like «sources: 10 built, 0 failed», and with 1 when a row failed.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "helpers"))

import sources as source_rows  # by the path that was just added


def main(names: list[str]) -> int:
    """Play the rows, and say how it went."""
    rows = source_rows.select(names)
    began, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="sealedroot-sources-", dir="/var/tmp") as folder:
        root = source_rows.Root(pathlib.Path(folder) / "root")
        for row in rows:
            verdict = source_rows.play(row, root, pathlib.Path(folder))
            failed += verdict != source_rows.BUILT
            print(f"{time.monotonic() - began:5.0f} s  {row.name}: {verdict}", flush=True)
    print(f"sources: {len(rows) - failed} built, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
