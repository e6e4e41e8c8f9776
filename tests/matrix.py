# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Releases, file systems and more: built, booted, updated, and booted again; see helpers/matrix.py.

usage: ./run matrix [-- ROW...]

Ends with a line like «matrix: 9 booted, 0 failed», and with 1 when a row failed. What was played is written to
docs/boot_matrix.md.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "helpers"))

import matrix as boot_matrix  # by the path that was just added

AT_ONCE = 2
# Where the logs of failed rows are left.
LOGS = boot_matrix.ROOT / ".cache" / "matrix"


def main(names: list[str]) -> int:
    """Play the rows, and say how it went."""
    rows = boot_matrix.select(names)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="sealedroot-matrix-", dir="/var/tmp") as folder,
        concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        kernels = boot_matrix.Kernels(pathlib.Path(folder))
        futures = [
            pool.submit(boot_matrix.play, row, pathlib.Path(folder), kernels, LOGS) for row in rows
        ]
        for future in concurrent.futures.as_completed(futures):
            result = future.result()
            seconds = time.monotonic() - began
            print(f"{seconds:5.0f} s  {result.row.name}: {result.verdict}", flush=True)
        results = [future.result() for future in futures]
    print(boot_matrix.table(result.cells() for result in results))
    failed = [result for result in results if not result.booted]
    if failed:
        print(f"the logs of what failed are in {LOGS}")
    boot_matrix.write_page(results)
    print(f"matrix: {len(results) - len(failed)} booted, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
