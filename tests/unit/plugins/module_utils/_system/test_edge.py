# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge of the modules: each class of errors that a person can mend becomes one sentence, in every module."""

from __future__ import annotations

import errno
import importlib
import json
import locale
import os
import pathlib
import struct
import typing as t
import zlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import edge
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    FailedError,
    Result,
    SealedRootError,
)

PACKAGE = "ansible_collections.sealedroot.image.plugins.modules"
PLUGINS = pathlib.Path(edge.__file__).parents[2]
# Nothing but the documentation of an action plugin, which does all the work.
ACTIONS = {path.stem for path in (PLUGINS / "action").glob("*.py")}
MODULES = sorted(path.stem for path in (PLUGINS / "modules").glob("*.py"))


def kernel(number: int, path: str | None = None) -> OSError:
    """An error of the kernel, as Python raises it."""
    words = (number, os.strerror(number))
    return OSError(*words, path) if path else OSError(*words)


def decode_error() -> UnicodeDecodeError:
    return UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "invalid start byte")


# Each class, and a word of what is to be done.
MENDED: dict[str, tuple[t.Callable[[], BaseException], str]] = {
    "own": (lambda: SealedRootError("a sentence"), "a sentence"),
    "EACCES": (lambda: kernel(errno.EACCES, "/x"), "/x is not "),
    "EDQUOT": (lambda: kernel(errno.EDQUOT, "/x"), "Free some"),
    "EIO": (lambda: kernel(errno.EIO, "/x"), "use another"),
    "EISDIR": (lambda: kernel(errno.EISDIR, "/x"), "give the path of a file"),
    "ELOOP": (lambda: kernel(errno.ELOOP, "/x"), "give the path that it leads to"),
    "EMFILE": (lambda: kernel(errno.EMFILE, "/x"), "raise the user's limit"),
    "ENAMETOOLONG": (lambda: kernel(errno.ENAMETOOLONG, "/x"), "give a shorter one"),
    "ENFILE": (lambda: kernel(errno.ENFILE, "/x"), "raise fs.file-max"),
    "ENOENT": (lambda: kernel(errno.ENOENT, "/x"), "/x is not there: correct the path"),
    "ENOMEM": (lambda: kernel(errno.ENOMEM, "/x"), "give the machine more"),
    "ENOSPC": (lambda: kernel(errno.ENOSPC), "Free some"),
    "ENOTDIR": (lambda: kernel(errno.ENOTDIR, "/x"), "correct the path"),
    "ENXIO": (lambda: kernel(errno.ENXIO, "/x"), "give the path of a file"),
    "EPERM": (lambda: kernel(errno.EPERM, "/x"), "/x is not "),
    "EROFS": (lambda: kernel(errno.EROFS, "/x"), "choose a directory on another one"),
    "another": (lambda: kernel(errno.EXDEV, "/x"), "/x cannot be used: Invalid cross-device link"),
    "no path": (lambda: kernel(errno.EIO), " line "),
    "value": (lambda: ValueError("seven"), "expected: seven"),
    "json": (lambda: json.JSONDecodeError("Expecting value", "x", 0), "Give another"),
    "decode": (decode_error, "byte 0xff at 2, and is no UTF-8"),
    "encode": (lambda: UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no"), "no UTF-8"),
    "struct": (lambda: struct.error("too short"), "too short"),
    "zlib": (lambda: zlib.error("bad"), "Give another"),
    "end": (lambda: EOFError("cut off"), "cut off"),
    "overflow": (lambda: OverflowError("too large"), "too large"),
    "recursion": (lambda: RecursionError("deep"), "nested too deeply"),
    "memory": (lambda: MemoryError(), "give the machine more"),
}
MISTAKES = (AssertionError, AttributeError, IndexError, KeyError, TypeError)


class EndedError(Exception):
    """The module ended, with this result."""

    def __init__(self, result: dict[str, t.Any]) -> None:
        self.result = result


class FakeModule:
    """An AnsibleModule at which the first look fails, as whatever the module then does may."""

    def __init__(self, **_spec: t.Any) -> None:
        self.error: BaseException | None = FakeModule.injected

    injected: BaseException | None = None

    def __getattr__(self, name: str) -> t.Any:
        error, self.error = self.error, None
        if error:
            raise error
        return {} if name == "params" else None

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        raise EndedError(result)


def end_of(name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """Run a module's main(), let it fail with an error, and return what it returns."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    monkeypatch.setattr(module, "AnsibleModule", FakeModule)
    monkeypatch.setattr(FakeModule, "injected", error)
    with pytest.raises(EndedError) as ended:
        module.main()
    return ended.value.result


def test_only_actions_have_no_main() -> None:
    without = {
        name
        for name in MODULES
        if not hasattr(importlib.import_module(f"{PACKAGE}.{name}"), "main")
    }
    assert without <= ACTIONS
    assert len(MODULES) - len(without) >= 25


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"image_collect"}))
@pytest.mark.parametrize("kind", MENDED)
def test_every_module_says_a_sentence(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = MENDED[kind]
    result = end_of(name, make(), monkeypatch)
    assert words in result["msg"]
    assert "Traceback" not in result["msg"]
    assert "\n" not in result["msg"]


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"image_collect"}))
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_program_passes(
    name: str, mistake: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(mistake):
        end_of(name, mistake("a mistake"), monkeypatch)


@pytest.mark.parametrize(("user", "cure"), [(1000, "use become"), (0, "lsattr")])
def test_who_may_not_is_told_how_to(user: int, cure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert cure in edge.sentence(kernel(errno.EACCES, "/x"))


def room(free: int, inodes: int = 7) -> os.statvfs_result:
    """What a file system of 100 MiB says of itself."""
    blocks = free << 8
    return os.statvfs_result((4096, 4096, 25600, blocks, blocks, 100, inodes, inodes, 0, 255))


ROOMS = {"/": room(50), "/full": room(2), "/wide": room(90), "/names": room(80, inodes=0)}
SAYS_FULL = "tar: /full/a: Cannot write: No space left on device"


@pytest.mark.parametrize(
    ("error", "params", "mount"),
    [
        (kernel(errno.ENOSPC, "/full/a/b"), {}, "/full is full, or a quota on it is: 2 of its 100"),
        (kernel(errno.ENOSPC, "/wide/a"), {"path": "/full/b"}, "/wide is full"),
        (kernel(errno.ENOSPC), {"path": "/wide/a", "keys": [{"to": "/full/b"}]}, "/full is full"),
        (kernel(errno.ENOSPC), {"path": "/full/a", "to": "/names/b"}, "/names is full"),
        (kernel(errno.ENOSPC), {"path": "/wide/a"}, "/ is full"),
        (CommandError(["tar", "-x"], Result(2, "", SAYS_FULL)), {}, "/full is full"),
        (SealedRootError(f"tar says: {SAYS_FULL}"), {}, "/full is full"),
    ],
)
def test_the_full_file_system_is_named(
    error: BaseException, params: dict[str, t.Any], mount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path in ROOMS)
    monkeypatch.setattr(os, "statvfs", lambda path: ROOMS[path])
    said = edge.sentence(error, params)
    assert mount in said
    assert said.endswith("Free some, or choose a directory on another one")


def test_the_kernel_speaks_the_language_of_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """What says "No space left" must be recognised, whatever language AnsibleModule has set for the caller."""
    locale.setlocale(locale.LC_MESSAGES, "C.UTF-8")
    end_of("luks_image", SealedRootError("no"), monkeypatch)
    assert locale.setlocale(locale.LC_MESSAGES) == "C"


def test_no_inodes_are_told_from_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path in ROOMS)
    monkeypatch.setattr(os, "statvfs", lambda path: ROOMS[path])
    said = edge.sentence(kernel(errno.ENOSPC, "/names/a"))
    assert "80 of its 100 MiB are free and none of its inodes" in said


def test_what_failed_is_returned_with_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    result = end_of("luks_image", FailedError("no", {"checks": ["one"]}), monkeypatch)
    assert result == {"msg": "no", "checks": ["one"]}


def test_what_the_kernel_quotes_does_nothing_to_a_terminal() -> None:
    """A directory of an image can be called anything, and too deep to be read."""
    for number in (errno.ENAMETOOLONG, errno.EACCES, errno.ENOSPC, errno.EPROTO):
        said = edge.sentence(kernel(number, "/root/\x1b]0;PWNED\x07\x1b[2J" + "x" * 9000))
        assert said.isprintable()
        assert len(said) < 9000
    assert edge.sentence(ValueError("a \x1b[2J")).isprintable()
