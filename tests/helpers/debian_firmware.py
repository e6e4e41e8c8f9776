# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Firmware for SEV from Debian packages that only a later release than this machine's has."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

CACHE = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "firmware"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SEV = ("ovmf-amdsev", "usr/share/ovmf/OVMF.amdsev.fd")
GENERIC = ("ovmf-generic", "usr/share/OVMF/OVMF_CODE_4M.fd")


def run(*argv: str | pathlib.Path, cwd: pathlib.Path | None = None) -> str:
    return subprocess.run(
        list(argv), capture_output=True, text=True, check=True, timeout=300, cwd=cwd
    ).stdout


def files(*wanted: tuple[str, str], release: str = "forky") -> list[pathlib.Path]:
    """Return a file of each package, from the mirror of this machine; packages are kept by their SHA-256."""
    lists = CACHE / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    targets = ("Identifier: Packages", "Origin: Debian")
    sites = run("apt-get", "indextargets", "--format", "$(REPO_URI)", *targets).split()
    mirror = next(site for site in sites if "security" not in site)
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        source = f"deb [signed-by={KEYRING}] {mirror} {release} main\n"
        (place / "sources.list").write_text(source)
        options = (
            f"Dir::Etc::sourcelist={place}/sources.list",
            "Dir::Etc::sourceparts=/dev/null",
            f"Dir::State::lists={lists}",
            f"Dir::Cache={place}",
            "Acquire::Languages=none",
            # A release that is not out may not be signed anew each week.
            "Acquire::Check-Valid-Until=false",
            # The user of apt cannot write below this directory.
            "APT::Sandbox::User=root",
        )
        apt = ("apt-get", "-qq", *(word for option in options for word in ("-o", option)))
        run(*apt, "update")
        said = run(*apt, "download", "--print-uris", *(package for package, _file in wanted))
        known = dict(
            re.findall(r"^'.*/([^/_']+)_[^/']*' .* SHA256:([0-9a-f]{64})", said, re.MULTILINE)
        )
        kept = {package: CACHE / known[package] / file for package, file in wanted}
        missing = [(package, file) for package, file in wanted if not kept[package].exists()]
        if missing:
            # apt compares the digests.
            run(*apt, "download", *(package for package, _file in missing), cwd=place)
        for package, file in missing:
            (archive,) = place.glob(f"{package}_*.deb")
            run("dpkg-deb", "--extract", archive, place / package)
            kept[package].parent.mkdir(parents=True, exist_ok=True)
            part = kept[package].with_suffix(f".{os.getpid()}")
            shutil.copyfile(place / package / file, part)
            part.rename(kept[package])
        return [kept[package] for package, _file in wanted]
