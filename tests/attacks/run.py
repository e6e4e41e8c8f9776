# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hostile host: plays every attack on images, with their defences and without.

usage: ./run attacks [-- [--write] [--keep FOLDER] [--on KIND] [--only control|product] [--jobs N] ATTACK...]

Ends with a line like «attacks: 40 tried, 34 stopped, 6 open (documented)», and with 1 when the host won where it must
not, or when an attack did nothing to an image without a defence. With --write what was measured goes into the table of
docs/threat_model.md. --keep leaves the images in a folder, and takes those that are there. --jobs says how many images
are attacked at a time, each with one guest.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
import traceback
import typing as t

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "helpers"))

import attack_images
import attack_report
from attacks import Attack, Outcome, Stage, load
from builds import Place

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where the consoles of attacks are left that ended as nobody expects.
LOGS = ROOT / ".cache" / "attacks"
STOPPING = threading.Event()


def main(argv: list[str]) -> int:
    """Play what was asked for, and say how it went."""
    parser = argparse.ArgumentParser(prog="./run attacks --")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument(
        "--on", choices=[it.name for it in attack_images.KINDS], action="append", default=[]
    )
    parser.add_argument("--only", choices=("control", "product"))
    # Emulated guests take a processor each.
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*", metavar="ATTACK")
    options = parser.parse_args(argv)
    attacks = load(pathlib.Path(__file__).parent, options.names)
    results: list[attack_report.Result] = []
    with contextlib.ExitStack() as stack:
        folder = options.keep
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="sealedroot-attacks-", dir="/var/tmp")
            folder = pathlib.Path(stack.enter_context(temporary))
        folder.mkdir(parents=True, exist_ok=True)
        played = []
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(options.jobs))
        for kind in attack_images.KINDS:
            if options.on and kind.name not in options.on:
                continue
            for defended in (False, True):
                if options.only == ("control" if defended else "product"):
                    continue
                wanted = {
                    name: it
                    for name, it in attacks.items()
                    if kind.name in it.images and (defended or not it.no_control)
                }
                if wanted:
                    # One after the other: building takes every processor that there is.
                    image = attack_images.build(kind, Place(folder), defended=defended)
                    played.append(pool.submit(play_all, wanted, image))
        try:
            for future in played:
                results += future.result()
        except BaseException:
            # What is being played ends first, and cleans up.
            STOPPING.set()
            raise
    return attack_report.finish(results, write=options.write)


def play_all(
    attacks: t.Mapping[str, Attack], image: attack_images.Image
) -> list[attack_report.Result]:
    """Play attacks on one image: the passive ones together, then each other by itself."""
    passive = {name: attack for name, attack in attacks.items() if attack.passive}
    single = [{name: attack} for name, attack in attacks.items() if not attack.passive]
    results = []
    for group in [passive, *single] if passive else single:
        if STOPPING.is_set():
            break
        for result in play(group, image):
            print(result.line, flush=True)
            results.append(result)
    return results


def play(
    group: t.Mapping[str, Attack], image: attack_images.Image
) -> t.Iterator[attack_report.Result]:
    """Play one attack, or passive ones in one boot; what goes wrong is the result of those that are left."""
    stage = Stage(image)
    left = list(group)
    began = time.monotonic()
    log = ""
    try:
        for name, outcome in outcomes(group, stage):
            left.remove(name)
            outcome = dataclasses.replace(outcome, seconds=time.monotonic() - began)
            result = attack_report.Result(
                name, group[name], image.kind.name, image.defended, outcome
            )
            log += "" if result.right else f"{result.line}\n"
            yield result
    except Exception as exc:  # the other attacks are played
        text = f"{type(exc).__name__}: {' '.join(str(exc).split())[:1500]}"
        log += "".join(traceback.format_exc())
        for name in left:
            yield attack_report.Result(
                name, group[name], image.kind.name, image.defended, None, text
            )
    finally:
        if log:
            LOGS.mkdir(parents=True, exist_ok=True)
            name = f"{'passive' if len(group) > 1 else next(iter(group))}-{image.name}.log"
            (LOGS / name.replace(", ", "-")).write_text(f"{log}\n{stage.console()}")
        stage.end()


def outcomes(group: t.Mapping[str, Attack], stage: Stage) -> t.Iterator[tuple[str, Outcome]]:
    """Yield what comes of each attack of a group."""
    for name, attack in group.items():
        if attack.play:
            yield name, attack.play(stage)
            return
    for attack in group.values():
        if attack.prepare:
            attack.prepare(stage)
    guest = stage.genuine()
    guest.boot(stage.image.boot_key)
    guest.log_in(stage.image.password)
    guest.run("systemctl is-system-running --wait || true", timeout=300)
    for name, attack in group.items():
        assert attack.probe
        yield name, attack.probe(stage, guest)


if __name__ == "__main__":
    # As Ctrl-C does: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
