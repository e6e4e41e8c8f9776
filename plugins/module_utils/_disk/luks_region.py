# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Make, open, close and erase a LUKS container in a region of a disk."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    backend as luks_backend,
    container,
    metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    loop_devices,
    mounts,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

Params = t.Mapping[str, t.Any]

# The defaults of a new header. cryptsetup's minimum of iterations is enough for a key of 128 random bits or more.
DEFAULTS: t.Mapping[str, t.Any] = {
    "type": "luks1",
    "cipher": "aes-xts-plain64",
    "key_size": 512,
    "hash": "sha256",
    "iterations": metadata.FEWEST_ITERATIONS,
    "key_slot": 0,
}

# The characters that udev does not escape. A name is a file name in /dev/mapper, where "control" is taken.
NAME = re.compile(r"(?!(?:\.|\.\.|control)$)[A-Za-z0-9#+.:=@_-]{1,127}")


def signature(runner: Runner, device: str) -> str:
    """Return what blkid finds on *device*; empty if it is blank."""
    found = runner.run(
        [runner.find("blkid"), "--probe", "--output", "export", device], check=False, timeout=60
    )
    if found.rc not in (0, 2):  # 2: nothing found; 8: more than one signature
        return found.stderr.strip() or "an ambiguous signature"
    wanted = ("TYPE=", "PTTYPE=")
    return " ".join(line for line in found.stdout.splitlines() if line.startswith(wanted))


def read_header(runner: Runner, params: Params) -> t.Tuple[t.Optional[metadata.Header], str]:
    """Return the LUKS header in the region; if there is none, None and what else the region holds."""
    region = {key: params[key] for key in ("path", "offset", "size")}
    with loop_devices.attached(runner, **region, read_only=True) as device:
        header = metadata.read(runner, device)
        return header, "" if header else signature(runner, device)


def with_defaults(params: Params) -> t.Dict[str, t.Any]:
    """Return the parameters, with defaults for the options of a header that were not given."""
    given = {name: value for name, value in params.items() if value is not None}
    return {**params, **DEFAULTS, **given}


def luks_format(runner: Runner, params: Params) -> metadata.Header:
    """Make the header. The iterations of the digest are forced, too (docs/facts.md: digest-iterations)."""
    params = with_defaults(params)
    argv = [runner.find("cryptsetup"), "luksFormat", "--batch-mode", "--type", params["type"]]
    argv += ["--cipher", params["cipher"], "--key-size", str(params["key_size"])]
    argv += ["--hash", params["hash"], "--pbkdf-force-iterations", str(params["iterations"])]
    if params["type"] == "luks2":
        # For a file, cryptsetup would take sectors of 4096 bytes (docs/facts.md: sector-size).
        argv += ["--pbkdf", "pbkdf2", "--sector-size", "512"]
    if params["key_slot"]:
        argv += ["--key-slot", str(params["key_slot"])]
    if params["uuid"]:
        argv += ["--uuid", params["uuid"]]
    region = {key: params[key] for key in ("path", "offset", "size")}
    with loop_devices.attached(runner, **region) as device:
        runner.run([*argv, device, params["key_file"]], timeout=120)
        header = metadata.read(runner, device)
    if header is None:
        raise SealedRootError(f"cryptsetup formatted {params['path']}, but left no LUKS header")
    return header


def erase(runner: Runner, params: Params) -> None:
    """Destroy the key slots, then the signature."""
    region = {key: params[key] for key in ("path", "offset", "size")}
    with loop_devices.attached(runner, **region) as device:
        runner.run([runner.find("cryptsetup"), "luksErase", "--batch-mode", device], timeout=120)
        runner.run([runner.find("wipefs"), "--all", device], timeout=60)


def planned(params: Params) -> metadata.Header:
    """Return the header that luks_format would make, as far as it is known in advance."""
    params = with_defaults(params)
    slot = metadata.Keyslot(params["iterations"], "pbkdf2")
    return metadata.Header(
        type=params["type"],
        uuid=params["uuid"] or "",
        cipher=params["cipher"],
        hash=params["hash"],
        key_bits=params["key_size"],
        payload_offset=0,
        digest_iterations=metadata.FEWEST_ITERATIONS,
        slots={params["key_slot"]: slot},
        slot_order=(params["key_slot"],),
    )


def check_blank(runner: Runner, params: Params, holds: str) -> None:
    """Refuse to format a region that is not blank, or that is not exactly one partition."""
    if params["read_only"]:
        raise SealedRootError(
            f"there is no LUKS header in {params['path']} at offset {params['offset']}, and with"
            " read_only none is made"
        )
    if not params["key_file"]:
        raise SealedRootError("key_file is needed to format the container")
    if params["force"]:
        return
    if holds:
        raise SealedRootError(
            f"{params['path']} at offset {params['offset']} holds {holds}: set force to overwrite it"
        )
    partitions.check_region(runner, params["path"], params["offset"], params["size"])


def differences(params: Params, header: metadata.Header) -> t.List[str]:
    """Return which properties of *header* differ from the given options.

    Not those of a key slot: keys are exchanged later (module keyfile_rotate), and the container stays the same.
    """
    has = {
        "type": header.type,
        "cipher": header.cipher,
        "key_size": header.key_bits,
        "hash": header.hash,
        "uuid": header.uuid,
    }
    wanted = {**params, "uuid": (params["uuid"] or "").lower() or None}
    return [
        f"{name} {value}, not {wanted[name]}"
        for name, value in has.items()
        if wanted[name] not in (None, value)
    ]


def check_found(params: Params, header: metadata.Header, device: str, have: str) -> None:
    """Refuse a container that is not the requested one."""
    other = differences(params, header)
    if other and params["state"] != "absent":
        first = "close it and " if have == "open" else ""
        raise SealedRootError(
            f"{params['path']} holds the container {header.uuid}, with {'; '.join(other)}: correct that, or path"
            f" and offset, or {first}set force to make the container anew"
        )
    if params["state"] != "open":
        return
    if have == "open" and loop_devices.is_read_only(device) != params["read_only"]:
        mode = "read-write" if params["read_only"] else "read-only"
        raise SealedRootError(f"{device} is open {mode}: close it first")
    if have != "open" and not params["key_file"]:
        raise SealedRootError("key_file is needed to open the container")


def apply(
    runner: Runner,
    params: Params,
    backend: luks_backend.Backend,
    mapping: luks_backend.Mapping,
    *,
    have: str,
    header: t.Optional[metadata.Header],
    make: bool,
) -> t.Optional[metadata.Header]:
    """Make the remaining changes and return the header after them."""
    state = params["state"]
    if have == "broken" or (have == "open" and state != "open"):
        backend.close(runner, mapping)
    if state == "absent" and header:
        erase(runner, params)
        return None
    if make:
        header = luks_format(runner, params)
    if state == "open" and have != "open" and header:
        backend.open(runner, dataclasses.replace(mapping, header=header))
    return header


def check_name(name: str) -> None:
    """Refuse a name that udev would change, or that is none for a file."""
    if not NAME.fullmatch(name):
        raise SealedRootError(
            f"name '{name}' cannot be a mapping: use up to 127 letters, digits and #+-.:=@_"
        )


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the container into the requested state and return what was done."""
    state, device = params["state"], f"{mounts.MAPPER_DIR}/{params['name']}"
    check_name(params["name"])
    if params["force"] and state != "open":
        raise SealedRootError(f"force formats, which state '{state}' is not for: leave force out")
    container.check(params["path"], params["offset"], params["size"])
    if params["key_file"]:
        container.check_key_file(params["key_file"])
    backend, reason = luks_backend.choose(runner, params["backend"])
    header, holds = read_header(runner, params)
    mapping = luks_backend.Mapping(
        path=params["path"],
        offset=params["offset"],
        size=params["size"],
        name=params["name"],
        header=header if header and not params["force"] else planned(params),
        key_file=params["key_file"] or "",
        work_dir=params["work_dir"] or "",
        read_only=params["read_only"],
    )
    have = backend.state(runner, mapping)
    before = have if have != "closed" else "closed" if header else "absent"
    make = state != "absent" and have != "open" and (header is None or params["force"])
    if make:
        check_blank(runner, params, holds)
    elif header:
        check_found(params, header, device, have)
    if state == "open" and have != "open":
        backend.check(mapping)
    if not check_mode:
        header = apply(runner, params, backend, mapping, have=have, header=header, make=make)
    return {
        "changed": make or before != state,
        "device": device,
        "uuid": header.uuid if header else "",
        "type": header.type if header else "",
        "state": state,
        "formatted": make,
        "backend": backend.name,
        "backend_reason": reason,
        "diff": {"before": {"state": before}, "after": {"state": state}},
    }


__all__ = ("DEFAULTS", "NAME", "check_name", "ensure", "luks_format", "read_header")
