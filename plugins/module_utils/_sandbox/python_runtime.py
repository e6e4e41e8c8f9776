# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""A Python that runs in a root without one: interpreter, libraries and loader in one directory."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
import sysconfig
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._launcher import request
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# No module needs these, and they are most of the size.
LEFT_OUT = (
    *("*.opt-1.pyc", "*.opt-2.pyc", "__phello__", "config-*", "curses", "dbm", "dist-packages"),
    # The builder's own settings for each of its Pythons.
    *("sitecustomize.py", "usercustomize.py"),
    *(
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "sqlite3",
        "test",
    ),
    *("tests", "tkinter", "turtledemo", "unittest", "wsgiref", "xmlrpc"),
)
# Read at each start, before anything else. Programs of the image, above all its own Python, must not inherit the
# settings of this Python, and what starts this Python again must use the wrapper.
CUSTOMIZATION = """\
import os
import sys

for name in ("PYTHONHOME", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(name, None)
sys.executable = {program!r}
image = os.environ.pop("SEALEDROOT_IMAGE", "")
user = os.environ.pop({user!r}, "")
own = os.environ.pop({own!r}, "")
if image:
    import ctypes
    import io
    import zipimport

    # Until now no file of the image could be read. From here on, the C library looks for users without the libraries
    # that /etc/nsswitch.conf names, and what the module starts can neither read nor change its memory and its output
    # (PR_SET_DUMPABLE, proc(5)).
    libc = ctypes.CDLL(None)
    for database in (b"group", b"gshadow", b"passwd", b"shadow"):
        libc.__nss_configure_lookup(database, b"files")
    libc.prctl(4, 0, 0, 0, 0)
    os.chroot(image)
    os.chdir("/")
    # A module imports from its archive until its end, and what it starts can write to that: it is read once.
    archives = dict()

    class KeptArchives:
        @staticmethod
        def open_code(path):
            if path not in archives:
                with io.open_code(path) as file:
                    archives[path] = file.read()
            return io.BytesIO(archives[path])

    zipimport._io = KeptArchives
    # The C library goes on with these, and what is started gets what the task asked for: not by os.environ, which
    # would tell the C library.
    for name in (b"LC_ALL", b"OPENSSL_CONF"):
        os.environ._data.pop(name, None)
        if b"SEALEDROOT_" + name in os.environ._data:
            os.environ._data[name] = os.environ._data.pop(b"SEALEDROOT_" + name)
if user:
    import grp
    import pwd

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        text = "\\n%sthe image has no user '%s': let an earlier task create it, or correct become_user\\n"
        os.write(2, (text % ({says!r}, user)).encode())
        os._exit({stopped})
    os.setgroups([it.gr_gid for it in grp.getgrall() if user in it.gr_mem] + [entry.pw_gid])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    # In the same way as above.
    names = (b"HOME", b"LOGNAME", b"SHELL", b"USER")
    for name, value in zip(names, (entry.pw_dir, user, entry.pw_shell or "/bin/sh", user)):
        os.environ._data[name] = value.encode()
if own:
    alone = os.getpid() == 1
    if alone:
        # PR_SET_NAME, prctl(2). docs/facts.md: process-1.
        import ctypes

        ctypes.CDLL(None).prctl(15, b"systemd", 0, 0, 0)
    check = [{image_python!r}, "-BIc", {check!r}]
    if os.access(check[0], os.X_OK) and os.spawnve(os.P_WAIT, check[0], check, os.environ) == 0:
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().split(b"\\0")[:-1]
        # What this Python was started with, after its own program and options.
        position = next(it for it, word in enumerate(words) if word.endswith(b"/bin/python3")) + 1
        while words[position:] and words[position] in (b"-I", b"-B", b"-X", b"utf8", b"-s"):
            position += 1
        # Process 1 keeps its name, and takes up the processes that others leave.
        child = os.fork() if alone else 0
        if child == 0:
            os.execve(check[0], [check[0], "-B", *words[position:]], os.environ)
        ended, status = 0, 0
        while ended != child:
            ended, status = os.wait()
        os._exit(status >> 8 if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
"""
# What the Python of an image must have to run modules: the versions that each supported ansible-core takes, and the
# whole standard library, which is a package of its own on Debian.
CHECK = """\
import sys
try:
    import ctypes, json, logging, zipfile
except Exception:
    sys.exit(1)
sys.exit(sys.version_info < (3, 9))
"""
IMAGE_PYTHON = "/usr/bin/python3"
# Extension modules that need more libraries and that no module needs.
EXTENSIONS_LEFT_OUT = (
    *("_codecs_", "_ctypes_test", "_curses", "_dbm", "_gdbm", "_sqlite3", "_test", "_tkinter"),
    *("_xxtest", "audioop", "nis", "ossaudiodev", "readline", "xxlimited"),
)
_EVERYWHERE = {b"libc.so.6", b"libpthread.so.0", b"libdl.so.2"}


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """The parts of the interpreter that runs this module."""

    program: str
    stdlib: str
    libraries: t.Tuple[str, ...]
    loader: str


def parse_ldd(text: str) -> t.Tuple[t.List[str], str]:
    """Return the libraries and the dynamic loader that ldd(1) names."""
    libraries = re.findall(r"=> (/\S+) \(0x", text)
    loaders = re.findall(r"^\s+(/\S*ld[-.]\S*) \(0x", text, re.MULTILINE)
    if not loaders:
        raise SealedRootError("ldd names no dynamic loader: this Python cannot be taken along")
    return sorted(set(libraries)), loaders[0]


def find(runner: Runner) -> Interpreter:
    """Look at the running interpreter; in a virtual environment, at its base."""
    program = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    stdlib = sysconfig.get_path("stdlib")
    dynload = os.path.join(stdlib, "lib-dynload")
    extensions = [
        os.path.join(dynload, name)
        for name in sorted(os.listdir(dynload))
        if name.endswith(".so") and not name.startswith(EXTENSIONS_LEFT_OUT)
    ]
    # ldd starts a process for each file; most extensions need no more libraries than the interpreter.
    linked = [path for path in extensions if _needs_more(path)]
    printed = runner.run([runner.find("ldd"), program, *linked], timeout=60).stdout
    libraries, loader = parse_ldd(printed)
    return Interpreter(program, stdlib, tuple(libraries), loader)


def _needs_more(extension: str) -> bool:
    """Say whether an extension names a library beyond those of every C program."""
    with open(extension, "rb") as file:
        names = set(re.findall(rb"\0(lib[\w+.-]+\.so[.\d]*)(?=\0)", file.read()))
    return bool(names - _EVERYWHERE - {name for name in names if name.startswith(b"libpython")})


def wrapper(interpreter: Interpreter, home: str) -> str:
    """Return the script that starts the interpreter from *home*, whatever libc the root has."""
    loader = os.path.basename(interpreter.loader)
    return (
        "#!/bin/sh\n"
        f"PYTHONHOME={home} PYTHONDONTWRITEBYTECODE=1 exec {home}/libs/{loader}"
        f' --inhibit-cache --library-path {home}/libs {home}/bin/python3 -s "$@"\n'
    )


def _copy(source: str, target: str) -> str:
    """Copy a file so that every user of the image can read it, whatever the builder's umask is."""
    shutil.copyfile(source, target)
    found = os.stat(source)
    os.chmod(target, 0o755 if found.st_mode & 0o111 else 0o644)
    # A compiled module is valid only if its source has this time.
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    return target


def customization_text(program: str) -> str:
    """Return what Python reads at each start; *program* starts it."""
    return CUSTOMIZATION.format(
        program=program,
        check=CHECK,
        image_python=IMAGE_PYTHON,
        own=request.OWN,
        says=request.SAYS,
        stopped=request.STOPPED,
        user=request.USER,
    )


def install(interpreter: Interpreter, directory: str, program: str) -> None:
    """Copy the interpreter into *directory*, which must not exist; *program* will start it."""
    # "lib", or "lib64" if the interpreter was built that way.
    lib, version = interpreter.stdlib.rstrip("/").split("/")[-2:]
    partial = f"{directory}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for folder in (partial, *(os.path.join(partial, name) for name in ("bin", "libs", lib))):
        os.mkdir(folder)
    _copy(interpreter.program, os.path.join(partial, "bin", "python3"))
    for library in (*interpreter.libraries, interpreter.loader):
        _copy(library, os.path.join(partial, "libs", os.path.basename(library)))
    target = os.path.join(partial, lib, version)
    left_out = shutil.ignore_patterns(*LEFT_OUT, *(f"{name}*.so" for name in EXTENSIONS_LEFT_OUT))
    shutil.copytree(
        interpreter.stdlib,
        target,
        ignore=left_out,
        copy_function=_copy,
        ignore_dangling_symlinks=True,
    )
    customization = os.path.join(target, "sitecustomize.py")
    with open(customization, "w", encoding="ascii") as file:
        file.write(customization_text(program))
    os.chmod(customization, 0o644)
    for folder, _folders, _files in os.walk(partial):
        os.chmod(folder, 0o755)  # noqa: S103 - a program of the image may run as another user
    os.rename(partial, directory)


__all__ = ("LEFT_OUT", "Interpreter", "find", "install", "parse_ldd", "wrapper")
