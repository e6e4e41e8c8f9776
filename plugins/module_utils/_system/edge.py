# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How every module ends: with its result, or with an error message that says what to change.

Here errors of the kernel and damaged data become messages, by class of exception. A bug (TypeError,
KeyError, AssertionError) is not caught, so that Ansible shows the traceback.
"""

from __future__ import annotations

import errno
import locale
import os
import re
import struct
import tempfile
import traceback
import typing as t
import zlib

from ansible_collections.sealedroot.image.plugins.module_utils._system import printable
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    UMASK,
    SealedRootError,
)

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

MIB = 1 << 20
# What parsers raise for damaged data; UnicodeError and JSONDecodeError are ValueErrors.
DAMAGED = (ValueError, OverflowError, EOFError, struct.error, zlib.error)
EXPECTED = (SealedRootError, OSError, RecursionError, MemoryError, *DAMAGED)

_FULL = (errno.ENOSPC, errno.EDQUOT)
# What tools print for these errors; tools written in Go print it in lower case.
_FULL_WORDS = tuple(os.strerror(number).lower() for number in _FULL)
# Advice to put after a path, for each errno that has specific advice.
_CURES = {
    errno.EEXIST: "is there already, and is not what is needed there: remove it, or correct the path",
    errno.EIO: "cannot be read or written, because the disk below it fails: see the kernel's log, and use another",
    errno.EISDIR: "is a directory, and a file is needed: give the path of a file",
    errno.ELOOP: "is a symbolic link, or has too many on its way: give the path that it leads to",
    errno.EMFILE: "cannot be opened, because too many files are open: raise the user's limit (ulimit -n)",
    errno.ENAMETOOLONG: "is too long for a name: give a shorter one",
    errno.ENFILE: "cannot be opened, because the machine has too many files open: raise fs.file-max",
    errno.ENOENT: "is not there: correct the path, or make it",
    errno.ENOMEM: "cannot be used, because no memory is left: give the machine more, or end what uses it",
    errno.ENOTDIR: "has a file where a directory is needed: correct the path",
    errno.ENXIO: "is a FIFO, a socket or a device that nobody serves: give the path of a file",
    errno.EROFS: "is on a read-only file system: choose a directory on another one, or mount it for writing",
}


def run(module: AnsibleModule, act: t.Callable[[], t.Dict[str, t.Any]]) -> t.NoReturn:
    """Call *act*, and end the module with its outcome or with an error message.

    The outcome's ``warnings`` become warnings of the module. The umask is set for the commands that it runs; files that
    others must not read have a mode of their own. Messages of the kernel are in the language of those of the commands:
    AnsibleModule has set the caller's, in which a full disk, for example, would not be recognised.
    """
    os.umask(UMASK)
    locale.setlocale(locale.LC_MESSAGES, "C")
    try:
        outcome = act()
        for warning in outcome.pop("warnings", []):
            module.warn(warning)
        # Inside the try block, because a result can hold values that JSON cannot encode.
        module.exit_json(**{"changed": False, **outcome})
    except EXPECTED as exc:
        outcome = getattr(exc, "outcome", {})
        module.fail_json(msg=sentence(exc, module.params), **outcome)


def sentence(exc: BaseException, params: t.Optional[t.Mapping[str, t.Any]] = None) -> str:
    """Return a message that says what to do about an error of one of the EXPECTED classes.

    *params* are the module's: if an error names no path, they tell which file system can be full. The message
    is escaped, because errors of the kernel quote file names that an image may have chosen.
    """
    return printable.message(_sentence(exc, params))


def _sentence(exc: BaseException, params: t.Optional[t.Mapping[str, t.Any]]) -> str:
    hints = [*_strings(params or {}), tempfile.gettempdir()]
    if isinstance(exc, SealedRootError):
        text = str(exc)
        is_full = any(words in text.lower() for words in _FULL_WORDS)
        return f"{text}. {_full([text, *hints])}" if is_full else text
    if isinstance(exc, OSError):
        return _of_kernel(exc, hints)
    where = _where(exc)
    if isinstance(exc, RecursionError):
        return f"what is read is nested too deeply ({where}): it is damaged or made to do harm, so give another"
    if isinstance(exc, MemoryError):
        return f"no memory is left ({where}): give the machine more, or a smaller input"
    if isinstance(exc, UnicodeDecodeError):
        byte = exc.object[exc.start]
        return f"what is read has byte 0x{byte:02x} at {exc.start}, and is no UTF-8 ({where}): correct it"
    if isinstance(exc, UnicodeEncodeError):
        return f"a name or text has a byte at {exc.start} that is no UTF-8 ({where}): rename or correct it"
    return f"what is read is damaged, or not of the kind that is expected: {exc} ({where}). Give another"


def _of_kernel(exc: OSError, hints: t.Sequence[str]) -> str:
    names = [
        os.fsdecode(it) for it in (exc.filename, exc.filename2) if isinstance(it, (str, bytes))
    ]
    if exc.errno in _FULL:
        return _full(names or hints)
    what = names[0] if names else f"a file ({_where(exc)})"
    if exc.errno in (errno.EACCES, errno.EPERM):
        user = os.geteuid()
        if user != 0:
            return (
                f"{what} is not for user {user} to open or change: use become, or connect as root"
            )
        return (
            f"{what} is not even for root to open or change: look for an immutable attribute (lsattr), a"
            " security module or a network file system"
        )
    if exc.errno in _CURES:
        return f"{what} {_CURES[exc.errno]}"
    return f"{what} cannot be used: {exc.strerror or exc}"


def _full(texts: t.Iterable[str]) -> str:
    """Say which file system is full: among those of the paths in *texts*, the one with the least free space."""
    rooms = [(os.statvfs(mount), mount) for mount in {_mount_point(path) for path in _paths(texts)}]
    usage, mount = min(rooms, key=lambda room: (_has_inodes(room[0]), _free(room[0])))
    inodes = "" if _has_inodes(usage) else " and none of its inodes"
    return (
        f"The file system at {mount} is full, or a quota on it is: {_free(usage) // MIB} of its"
        f" {usage.f_blocks * usage.f_frsize // MIB} MiB are free{inodes}. Free some, or choose a directory on"
        " another one"
    )


def _free(usage: os.statvfs_result) -> int:
    return usage.f_bavail * usage.f_frsize


def _has_inodes(usage: os.statvfs_result) -> bool:
    # Btrfs reports 0 for both.
    return usage.f_favail > 0 or usage.f_files == 0


def _mount_point(path: str) -> str:
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _strings(value: t.Any) -> t.List[str]:
    """Return all strings in the parameters of a module."""
    if isinstance(value, str):
        return [value]
    inner = (
        value.values() if isinstance(value, t.Mapping) else value if isinstance(value, list) else []
    )
    return [it for part in inner for it in _strings(part)]


def _paths(texts: t.Iterable[str]) -> t.List[str]:
    """Return the absolute paths in *texts*; the colon of ``PATH: message`` does not belong to the path."""
    words = re.compile(r"(?:^|(?<=[\s'\"=]))/[^\s'\"]*")
    return [word.rstrip(":.,") for text in texts for word in words.findall(text)] or ["/"]


def _where(exc: BaseException) -> str:
    """Return the innermost line of this collection in the traceback of an error."""
    frames = traceback.extract_tb(exc.__traceback__)
    last = ([it for it in frames if "sealedroot" in it.filename] or frames)[-1:]
    return (
        f"{os.path.basename(last[0].filename)} line {last[0].lineno}"
        if last
        else "at no known line"
    )


__all__ = ("DAMAGED", "EXPECTED", "run", "sentence")
