# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hostile root: builds an image of each root of helpers/hostile_table.py, and looks at what the builder lost.

usage: ./run hostile [-- [--jobs N] ROOT...]

Ends with a line like «hostile: 50 roots, 0 reached the builder, 0 hung», and with 1 when one did, or when a build
ended in another way than its row says.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "helpers"))

import hostile_roots  # by the path that was just added
import hostile_table


def main(argv: list[str]) -> int:
    """Play what was asked for, and say how it went."""
    parser = argparse.ArgumentParser(prog="./run hostile --")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*", metavar="ROOT")
    options = parser.parse_args(argv)
    rows = hostile_table.select(options.names)
    verdicts = []
    with hostile_roots.folder() as folder:
        base = hostile_roots.Base(folder)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            played = [pool.submit(hostile_roots.play, row, base, folder) for row in rows]
            try:
                for future in concurrent.futures.as_completed(played):
                    verdicts.append(future.result())
                    print(verdicts[-1].line, flush=True)
            except BaseException:
                # What is being played ends first, and cleans up.
                pool.shutdown(cancel_futures=True)
                raise
    wrong = [it for it in verdicts if it.wrong]
    if wrong:
        print(
            f"{len(wrong)} ended wrong, see {hostile_roots.LOGS}: {', '.join(it.name for it in wrong)}"
        )
    reached = sum(bool(it.reached) for it in verdicts)
    hung = sum(it.hung for it in verdicts)
    print(f"hostile: {len(verdicts)} roots, {reached} reached the builder, {hung} hung")
    return 0 if all(it.right for it in verdicts) else 1


if __name__ == "__main__":
    # As Ctrl-C does: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
