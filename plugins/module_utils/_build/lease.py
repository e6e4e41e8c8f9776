# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The lease of a build: only one build at a time works in a directory, or publishes to it.

The lease is a lock (flock(2)) on a file beside the directory. The process of lease_holder.py holds it, so the kernel
ends it together with that process.

The content of the file is for people, and a build recognises its own lease by it. It decides nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import getpass
import hashlib
import json
import os
import socket
import stat
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build.lease_holder import (
    LockedFile,
    Process,
    detach,
    hold,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# A process that checks whether a file is locked locks it for a moment itself.
TRIES = 5
# The fields of the file with their defaults, and how many bytes of it are read.
_SAID = {"id": "", "who": "an unknown process", "doing": "built", "since": "an unknown time"}
_MOST = 4096

# The arguments of the module build_lease and of its action plugin.
ARGUMENTS: t.Dict[str, t.Any] = {
    "work_dir": {"type": "path", "required": True},
    "output_dir": {"type": "path", "required": True},
    "collected": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
    "play": {
        "type": "dict",
        "options": {
            "id": {"type": "str", "required": True},
            "who": {"type": "str", "required": True},
            "pid": {"type": "int"},
            "start": {"type": "str"},
        },
    },
}


@dataclasses.dataclass(frozen=True)
class Owner:
    """The owner of a lease: *id* is the same for one image in one play."""

    id: str
    who: str
    doing: str = "built"


class HeldError(SealedRootError):
    """Another owner has the lease."""


def path_of(directory: str) -> str:
    """Return the lease file for the directory of a build or of an image, published or not."""
    parent, name = os.path.split(os.path.realpath(directory))
    name = name[1 : -len(".partial")] if name.startswith(".") else name
    return os.path.join(parent, f".{name}.lease")


def owner(of: Process, image: str = "", doing: str = "built") -> Owner:
    """Return a process of this machine as an owner."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"
    host = socket.gethostname()
    digest = hashlib.sha256(repr((*of, host, image, doing)).encode()).hexdigest()
    return Owner(digest[:16], f"process {of[0]} of {user} on {host}", doing)


def ensure(
    directories: t.Sequence[str],
    state: str,
    own: Owner,
    is_wanted: t.Callable[[t.List[int]], bool],
    *,
    check_mode: bool,
) -> None:
    """Take or release the leases of all directories; in check mode, only check that no other owner has one."""
    if check_mode:
        for directory in directories:
            check(directory, own)
    elif state == "absent":
        for directory in directories:
            give_back(directory, own.id)
    else:
        take(directories, own, is_wanted)


def take(
    directories: t.Sequence[str], own: Owner, is_wanted: t.Callable[[t.List[int]], bool]
) -> None:
    """Take the leases of all directories and pass them to a holder, or take none.

    *is_wanted* gets the open files and says whether the play is still there.
    """
    files: t.List[LockedFile] = []
    try:
        for directory in directories:
            taken = _take(directory, own)
            files += [taken] if taken else []
        if files:
            detach(lambda: hold(files, is_wanted), keep=[file.handle for file in files])
    except BaseException:
        for file in files:
            file.give_back()
        raise
    for file in files:
        os.close(file.handle)


@contextlib.contextmanager
def excluded(
    directory: str,
    own: Owner,
    *,
    keep: bool = False,
    force: bool = False,
    check_mode: bool = False,
) -> t.Iterator[None]:
    """Keep builds out of a directory, and release its lease after that; *keep* keeps a lease of its own.

    A lease of another build is an error, except with *force*.
    """
    if not (os.path.lexists(path_of(directory)) or os.path.lexists(directory)):
        yield
        return
    if check_mode:
        if not force:
            check(directory, own)
        yield
        return
    file = None
    try:
        file = _take(directory, own)
    except HeldError:
        if not force:
            raise
    try:
        yield
    finally:
        if file:
            file.give_back()
        elif force or not keep:
            # The holder ends when the file is gone.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path_of(directory))


def check(directory: str, own: Owner) -> None:
    """Raise an error if another owner has the lease; create nothing."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        handle = _open(path_of(directory))
        try:
            if not _lock(handle) and _said(handle)["id"] != own.id:
                raise _held(directory, handle)
        finally:
            os.close(handle)


def is_lost(directory: str, own: str) -> bool:
    """Say whether the owner with this id does not have the lease (any more)."""
    try:
        handle = _open(path_of(directory))
    except OSError:
        return True
    try:
        return _said(handle)["id"] != own
    finally:
        os.close(handle)


def give_back(directory: str, own: str) -> None:
    """Release the lease if it is that owner's; the holder then ends."""
    if not is_lost(directory, own):
        os.unlink(path_of(directory))


def _take(directory: str, own: Owner) -> t.Optional[LockedFile]:
    """Lock the file of a directory; return None if the same owner has already locked it."""
    path = path_of(directory)
    made = _make(os.path.dirname(path))
    while True:
        file = LockedFile(path, _open(path, os.O_CREAT), made)
        try:
            if not _lock(file.handle, own.id):
                if _said(file.handle)["id"] == own.id:
                    os.close(file.handle)
                    return None
                raise _held(directory, file.handle)
            # The previous owner may have removed the file meanwhile.
            if file.is_there():
                _say(file.handle, own)
                return file
        except BaseException:
            os.close(file.handle)
            raise
        os.close(file.handle)


def _make(directory: str) -> t.List[str]:
    made = []
    while not os.path.isdir(directory):
        made.append(directory)
        directory = os.path.dirname(directory)
    for missing in reversed(made):
        with contextlib.suppress(FileExistsError):
            os.mkdir(missing)
    return made


def _open(path: str, flags: int = 0) -> int:
    """Open the file with care: where images are published, another user may own the directory."""
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o644)
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1 or info.st_uid not in (0, os.geteuid()):
        os.close(handle)
        raise SealedRootError(f"{path} is no file that a build made: remove it")
    return handle


def _lock(handle: int, own: str = "") -> bool:
    """Lock the file; wait a moment for another owner than *own*, who is about to release it."""
    for _try in range(TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if own and _said(handle)["id"] == own:
                return False
            time.sleep(0.02)
        else:
            return True
    return False


def _say(handle: int, own: Owner) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{json.dumps({**dataclasses.asdict(own), 'since': since})}\n".encode(), 0)


def _said(handle: int) -> t.Dict[str, str]:
    """Return the content of the file, without anything that a terminal would obey."""
    try:
        said = json.loads(os.pread(handle, _MOST, 0))
        return {name: "".join(filter(str.isprintable, str(said[name]))) for name in _SAID}
    except (ValueError, RecursionError, TypeError, KeyError):
        return dict(_SAID)


def _held(directory: str, handle: int) -> HeldError:
    parent, name = os.path.split(path_of(directory)[: -len(".lease")])
    said = _said(handle)
    return HeldError(
        f"{parent}/{name[1:]} is being {said['doing']} by {said['who']} since {said['since']}: wait until that ends,"
        " or choose another image_name"
    )


__all__ = (
    "ARGUMENTS",
    "HeldError",
    "Owner",
    "check",
    "ensure",
    "excluded",
    "give_back",
    "is_lost",
    "owner",
    "path_of",
    "take",
)
