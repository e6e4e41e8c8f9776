# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives every parser of untrusted bytes what nobody would write.

usage: ./run fuzz [-- [--seconds S] [--seed N] [--list] [TARGET...]]

Ends with a line like «fuzz: 81234 inputs, 0 tracebacks, 0 hangs, peak 210 MiB», and with 1 when a parser did anything
but return a result or say a sentence. Each failure is shown with the bytes that it takes.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "helpers"))

import collection  # noqa: F401  # before what imports the collection
import fuzz_engine
import fuzz_targets


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="./run fuzz --")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, in all")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("targets", nargs="*", help="only these")
    options = parser.parse_args()
    targets = fuzz_targets.TARGETS
    if options.list:
        print(*sorted(it.name for it in targets), sep="\n")
        return 0
    unknown = set(options.targets) - {it.name for it in targets}
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    chosen = [it for it in targets if not options.targets or it.name in options.targets]
    tally = fuzz_engine.fuzz(
        chosen, options.seed, seconds=options.seconds, say=lambda it: print(it, flush=True)
    )
    print(tally.line)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
