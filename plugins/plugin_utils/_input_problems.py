# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check whether the inputs of a build can make an image: a table of checks; each returns a sentence or ''."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout
from ansible_collections.sealedroot.image.plugins.module_utils._etc import identity
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems
from ansible_collections.sealedroot.image.plugins.plugin_utils import (
    _specified,
    _unlock_problems,
)

Inputs = t.Mapping[str, t.Any]
is_set = _specified.is_set

_SOURCES = (
    "give {type: tar, path: /absolute/root.tar}, {type: directory, path: /absolute/root}, {type: disk, path:"
    " /absolute/disk.qcow2}, {type: oci, path: /absolute/image}, {type: url, url: https://example.org/root.tar,"
    " checksum: sha256:...} or {type: bootstrap, distribution: debian, release: bookworm}"
)
# Names that a misspelled release is compared with. Others may come, and mirrors have their own.
_RELEASES = (
    *("bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
    *("oldstable", "stable", "testing", "unstable", "experimental"),
)

INTERPRETER = "/run/sealedroot/python3"
CONNECTION = "sealedroot.image.chroot"
# FAT dates begin in 1980.
FIRST_EPOCH = 315532800
# What Debian's policy (5.6.1), RPM and pacman allow; no options, versions or files.
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._:-]*")
# GRUB reads at most 254 printable ASCII characters (docs/facts.md: grub-passphrase). 20 characters, 8 of them
# different, is the minimum for a passphrase that anyone with the image can attack offline.
_PASSPHRASE, _PASSPHRASE_DIFFERENT = re.compile(r"[ -~]{20,254}"), 8
# 43 characters of base64 are 256 bits; 43 random hexadecimal digits hardly ever have fewer than 12 different ones.
_BOOT_KEY, _BOOT_KEY_DIFFERENT = re.compile(r"[!-~]{43,254}"), 12


@dataclasses.dataclass(frozen=True)
class Around:
    """The context of the inputs.

    *options* are the inputs' specification; *misspelled* is a sentence on names that resemble inputs, or ''. *names*
    are all variables of the host, *of_tasks* those that only tasks may set, and *replaced* the facts of the build that
    somebody has given a value.
    *interpreter* and *connection* are what a task in the image would use, *hosts* are those of the inventory, *steps*
    the results for the steps of image_customize, and *now* is in seconds since 1970.
    """

    options: _specified.Options
    misspelled: str
    names: t.Collection[str]
    of_tasks: t.Collection[str]
    replaced: t.Collection[str]
    interpreter: str
    connection: str
    hosts: t.Container[str]
    steps: t.Sequence[t.Mapping[str, str]]
    now: float


def problems(given: Inputs, around: Around) -> t.List[str]:
    """Return a sentence for each problem; if the inputs are not as specified, only for that."""
    found = _specified.problems(given, around.options)
    if "image_source" not in given:
        found.append(f"image_source is missing: {_SOURCES}.")
    found = found or [check(given, around) for check in CHECKS]
    return [*filter(None, found), *(it["problem"] for it in around.steps if it["problem"])]


def rotation_problems(
    keep_slots: t.Sequence[int],
    passphrase: t.Any,
    misspelled: str = "",
    secret: str = "",
    sharing: t.Sequence[str] = (),
) -> t.List[str]:
    """Return a sentence for each problem of a rotation's inputs.

    *secret* is a launch secret without its firmware, *sharing* the other machines whose keys are in the same directory.
    """
    wrong = _specified.type_problem("rotate_recovery_passphrase", passphrase, "str")
    if wrong:
        return [wrong]
    found = [misspelled] if misspelled else []
    if 0 in map(int, keep_slots):
        found.append(
            "Slot 0 is the boot key's, which is to be exchanged. Take 0 out of rotate_keep_slots."
        )
    if not _is_strong(passphrase, _PASSPHRASE, _PASSPHRASE_DIFFERENT):
        found.append(_weak_passphrase("rotate_recovery_passphrase"))
    if secret:
        found.append(
            f"{secret} has the old key, and firmware.fd, which says how long it is, is not beside it. Put firmware.fd"
            " there, or remove secret.bin, which only a trial without SEV needs."
        )
    if sharing:
        found.append(
            f"The boot key that would be replaced is also that of {', '.join(sorted(sharing))}, which has the same"
            " image_name. Give this machine a directory of its own: --limit MACHINE -e image_name=MACHINE."
        )
    return found


def _misspelled(_given: Inputs, around: Around) -> str:
    return around.misspelled


def _replaced(_given: Inputs, around: Around) -> str:
    found = ", ".join(sorted(around.replaced))
    if not found:
        return ""
    return (
        f"The build itself finds {found} and hands it on as a fact, so it is no input: leave it out, also of the"
        " inventory."
    )


def _of_tasks(_given: Inputs, around: Around) -> str:
    found = ", ".join(sorted(set(around.names) & set(around.of_tasks)))
    if not found:
        return ""
    return (
        f"Only tasks may set {found}, since for a whole image that would give each command a network, the keys or"
        " another Python: take it out of the inventory and the extra variables."
    )


def _interpreter(_given: Inputs, around: Around) -> str:
    if around.interpreter == INTERPRETER:
        return ""
    return (
        "ansible_python_interpreter is an extra variable, so that programs of the root would run the modules that"
        " look at it: set it for the builder, in the inventory."
    )


def _connection(_given: Inputs, around: Around) -> str:
    if around.connection == CONNECTION:
        return ""
    return (
        f"ansible_connection is '{around.connection}' for the image, so that what is to run in the image would run"
        " elsewhere: set it for the builder, in the inventory, and for no image."
    )


def _command_timeout(given: Inputs, _around: Around) -> str:
    value = given["image_command_timeout"]
    if 1 <= (_specified.whole(value) or 0) < 10**9:
        return ""
    return (
        f"image_command_timeout '{value}' is no number of seconds: give a whole number, at least 1."
    )


def _name(given: Inputs, _around: Around) -> str:
    name = given["image_name"]
    if re.fullmatch("[a-z0-9][a-z0-9._-]{0,62}", str(name)):
        return ""
    return (
        f"image_name '{name}' cannot name a file and a host: use at most 63 of a-z, 0-9, '.', '_' and '-', beginning"
        " with a letter or digit."
    )


def _builder(given: Inputs, around: Around) -> str:
    builder = given["image_builder"]
    if builder == "localhost" or builder in around.hosts:
        return ""
    return f"image_builder '{builder}' is not in the inventory: add it, or correct the name."


def _builds_at_once(given: Inputs, _around: Around) -> str:
    value = given["image_builds_at_once"]
    if (_specified.whole(value) or 0) >= 0:
        return ""
    return f"image_builds_at_once is {value}: write how many builds may be at work, or 0 for as many as come."


def _hostname(given: Inputs, _around: Around) -> str:
    value = given["image_hostname"]
    if identity.HOSTNAME.fullmatch(str(value)):
        return ""
    return f"image_hostname '{value}' is not a host name: use letters, digits, '.' and '-'."


def _size(given: Inputs, _around: Around) -> str:
    size, name = given["image_size"], given["image_filesystem"]
    found, least = layout.size_bytes(size), filesystems.find(name).least_disk
    if not found:
        return f"image_size '{size}' is not a size: write a number with a unit, such as 4GiB."
    if found < least:
        return (
            f"image_size {size} is too small for {name}: set it to at least {least // filesystems.MIB}MiB, or take"
            " another image_filesystem."
        )
    return ""


def _source(given: Inputs, _around: Around) -> str:
    source = given["image_source"]
    kind = source["type"]
    if kind == "url":
        good = bool(re.match("(https?|file)://", str(source.get("url", ""))))
    elif kind == "bootstrap":
        release = re.fullmatch("[a-z]+", str(source.get("release", "")))
        good = bool(release) and source.get("distribution") == "debian"
    else:
        good = os.path.isabs(str(source.get("path", "")))
    if good:
        return ""
    # A URL can contain a password or a token.
    hidden = ("mirror", "signature", "url")
    shown = {key: value for key, value in source.items() if key not in hidden}
    return f"image_source {shown} is not a source: {_SOURCES}."


def _release(given: Inputs, _around: Around) -> str:
    source = given["image_source"]
    release = str(source.get("release", ""))
    near = difflib.get_close_matches(release, _RELEASES, 1, 0.75)
    if source["type"] != "bootstrap" or not near or release in _RELEASES:
        return ""
    return f"image_source.release '{release}' is no release of Debian: write {near[0]}."


def _authorized_keys(given: Inputs, _around: Around) -> str:
    """The sentence has no entry, which may be a private key."""
    keys = enumerate(given["image_authorized_keys"], start=1)
    wrong = [str(number) for number, key in keys if not identity.is_public_key(str(key))]
    if not wrong:
        return ""
    numbers = ", ".join(wrong)
    return f"image_authorized_keys has no whole SSH public key as entry {numbers}: give the line of a .pub file."


def _proof_of_source(given: Inputs, _around: Around) -> str:
    source = given["image_source"]
    if source["type"] != "url" or "checksum" in source or {"signature", "keyring"} <= set(source):
        return ""
    return "image_source has a url, but nothing says what must be behind it: give checksum, or signature and keyring."


def _relabel(given: Inputs, _around: Around) -> str:
    if given["__image_selinux"] != "relabel_at_boot" or not is_set(given["image_boot_test"]):
        return ""
    return (
        "image_selinux is relabel_at_boot: the first boot ends with a second one, at which GRUB asks for the key"
        " again, and the boot test takes that for a defect. Set image_boot_test to false, or image_selinux to"
        " auto."
    )


def _recovery_passphrase(given: Inputs, _around: Around) -> str:
    if _is_strong(given["image_recovery_passphrase"], _PASSPHRASE, _PASSPHRASE_DIFFERENT):
        return ""
    return _weak_passphrase("image_recovery_passphrase")


def _password_hash(given: Inputs, _around: Around) -> str:
    value = given["image_root_password_hash"]
    if not value or identity.CRYPT.fullmatch(value):
        return ""
    return "image_root_password_hash is no hash of crypt(5): take what 'openssl passwd -6' prints."


def _formats(given: Inputs, _around: Around) -> str:
    formats = given["image_formats"]
    return _specified.once_each("image_formats", formats, "format", "qcow2, vhd", "qcow2")


def _publish_tasks(given: Inputs, _around: Around) -> str:
    path = given["__image_publish_tasks"]
    if not path or os.path.isfile(path):
        return ""
    return (
        f"image_publish_tasks {path} is no file on the control node: correct the path, which counts from where"
        " ansible-playbook was called."
    )


def _epoch(given: Inputs, around: Around) -> str:
    """A time in the future would not limit any timestamp."""
    value = given["image_source_date_epoch"]
    seconds = _specified.whole(value)
    if seconds == 0 or (seconds and FIRST_EPOCH <= seconds <= around.now):
        return ""
    return (
        f"image_source_date_epoch {value} is no time between 1980 and now: give seconds since 1970, such as what"
        " 'git log -1 --format=%ct' or 'date +%s' prints."
    )


def _uuid(given: Inputs, _around: Around) -> str:
    value = given["image_uuid"]
    if not value or re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value):
        return ""
    return f"image_uuid '{value}' is no UUID: take what uuidgen prints."


def _boot_key(given: Inputs, _around: Around) -> str:
    key = given["image_boot_key"]
    if not _is_strong(key, _BOOT_KEY, _BOOT_KEY_DIFFERENT):
        return (
            "image_boot_key is too weak or cannot be typed at GRUB: take what 'openssl rand -base64 33' prints, or"
            " leave it out to have one generated."
        )
    if key and key == given["image_recovery_passphrase"]:
        return (
            "image_boot_key and image_recovery_passphrase are the same: give the owner a key that is not in the"
            " initramfs."
        )
    return ""


def _kernel_cmdline(given: Inputs, _around: Around) -> str:
    console = is_set(given["image_debug_console"])
    if guest.MACHINE_ID in map(guest.name_of, given["image_kernel_cmdline"].split()):
        return f"image_kernel_cmdline has {guest.MACHINE_ID}, which every clone would share: leave it out."
    words = guest.contrary(given["image_kernel_cmdline"], debug_console=console)
    if not words:
        return ""
    otherwise = "" if console else ", or set image_debug_console for an image to develop with"
    return (
        f"image_kernel_cmdline has {' '.join(words)}, which opens to the host or to its console what the image"
        f" closes, or is read otherwise than it is written: leave it out{otherwise}."
    )


def _packages(given: Inputs, _around: Around) -> str:
    names = given["__image_packages"]
    wrong = [str(it) for it in names if not isinstance(it, str) or not _PACKAGE.fullmatch(it)]
    if not wrong:
        return ""
    return (
        f"image_packages has what is no name of a package ({', '.join(wrong)}): give a list of names, and the word"
        " auto for what an encrypted boot needs."
    )


def _weak_passphrase(name: str) -> str:
    return (
        f"{name} is too weak or cannot be typed at GRUB: use 20 to 254 printable ASCII characters, at least"
        f" {_PASSPHRASE_DIFFERENT} of them different, or leave it out to have one generated."
    )


def _is_strong(secret: str, form: t.Pattern[str], different: int) -> bool:
    return not secret or (form.fullmatch(secret) is not None and len(set(secret)) >= different)


CHECKS: t.Tuple[t.Callable[[Inputs, Around], str], ...] = (
    *(_misspelled, _of_tasks, _replaced, _interpreter, _connection),
    *(_command_timeout, _name, _builder, _builds_at_once, _hostname, _size, _source),
    *(
        _release,
        _authorized_keys,
        _proof_of_source,
        _relabel,
        _recovery_passphrase,
        _password_hash,
        _formats,
        _publish_tasks,
    ),
    *(_epoch, _uuid, _boot_key, _kernel_cmdline, _packages),
    *_unlock_problems.CHECKS,
)

__all__ = ("CHECKS", "Around", "Inputs", "is_set", "problems", "rotation_problems")
