# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import sysconfig

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import request
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox.python_runtime import (
    CHECK,
    IMAGE_PYTHON,
    Interpreter,
    customization_text,
    find,
    install,
    parse_ldd,
    wrapper,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# ldd of glibc 2.36 for two files.
GLIBC = """\
/usr/bin/python3.11:
\tlinux-vdso.so.1 (0x00007ffd3a5f2000)
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f0c9f2b6000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0c9e21f000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f0c9f3a7000)
/usr/lib/python3.11/lib-dynload/_bz2.cpython-311-x86_64-linux-gnu.so:
\tlinux-vdso.so.1 (0x00007ffc6a9c5000)
\tlibbz2.so.1.0 => /lib/x86_64-linux-gnu/libbz2.so.1.0 (0x00007f26f0b0a000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f26f0929000)
\tlibgone.so.1 => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f26f0b3c000)
"""
AARCH64 = "\tlibc.so.6 => /lib/libc.so.6 (0x1)\n\t/lib/ld-linux-aarch64.so.1 (0x2)\n"
# musl's ldd names the loader as the C library, too.
MUSL = "\t/lib/ld-musl-x86_64.so.1 (0x7f)\n\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f)\n"


def test_libraries_are_named_once_and_missing_ones_not():
    libraries, loader = parse_ldd(GLIBC)
    folder = "/lib/x86_64-linux-gnu"
    assert libraries == [f"{folder}/{name}" for name in ("libbz2.so.1.0", "libc.so.6", "libm.so.6")]
    assert loader == "/lib64/ld-linux-x86-64.so.2"


@pytest.mark.parametrize(
    ("text", "loader"),
    [(AARCH64, "/lib/ld-linux-aarch64.so.1"), (MUSL, "/lib/ld-musl-x86_64.so.1")],
    ids=["aarch64", "musl"],
)
def test_other_loaders_are_known(text, loader):
    assert parse_ldd(text)[1] == loader


def test_a_static_python_is_refused():
    with pytest.raises(SealedRootError, match="no dynamic loader"):
        parse_ldd("\tnot a dynamic executable\n")


ONLY_LIBC = b"\x7fELF\0libc.so.6\0libpthread.so.0\0"


def test_find_asks_ldd_once_about_what_needs_more_than_libc(script, runner, tmp_path, monkeypatch):
    dynload = tmp_path / "lib" / "python3.11" / "lib-dynload"
    dynload.mkdir(parents=True)
    for name, content in {
        "_plain.so": ONLY_LIBC,
        "_bz2.so": b"\x7fELF\0libbz2.so.1.0\0libc.so.6\0",
        # Names in a row share the zero byte between them.
        "_ssl.so": b"\x7fELF\0libc.so.6\0libssl.so.3\0",
        "_shared.so": b"\x7fELF\0libpython3.11.so.1.0\0libc.so.6\0",
        "_sqlite3.so": b"\x7fELF\0libsqlite3.so.0\0",
        "notes.txt": b"\0libnotes.so.1\0",
    }.items():
        (dynload / name).write_bytes(content)
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(dynload.parent))
    program = os.path.realpath(vars(sys)["_base_executable"])
    argv = ["ldd", program, str(dynload / "_bz2.so"), str(dynload / "_ssl.so")]
    script.expect(argv, stdout=GLIBC)
    found = find(runner)
    assert (found.program, found.stdlib) == (program, str(dynload.parent))
    assert found.loader == "/lib64/ld-linux-x86-64.so.2"


@pytest.fixture(params=["lib", "lib64"])
def interpreter(tmp_path, request):
    """An interpreter in a tree of its own, with the directory names of two families."""
    stdlib = tmp_path / "usr" / request.param / "python3.11"
    for name in ("json", "__pycache__", "lib-dynload", "test", "site-packages", "tkinter"):
        (stdlib / name).mkdir(parents=True)
        (stdlib / name / "file").write_text(name)
    (stdlib / "os.py").write_text("os")
    os.utime(stdlib / "os.py", (1000, 1000))
    for name in ("_ssl", "_sqlite3"):
        (stdlib / "lib-dynload" / f"{name}.cpython-311-x86_64-linux-gnu.so").touch()
    (stdlib / "sitecustomize.py").write_text("raise SystemExit('of the builder')")
    (stdlib / "dangling.py").symlink_to("/nowhere/dangling.py")
    for name in ("python3.11", "libc.so.6", "ld-linux-x86-64.so.2"):
        (tmp_path / name).write_text(name)
    return Interpreter(
        program=str(tmp_path / "python3.11"),
        stdlib=str(stdlib),
        libraries=(str(tmp_path / "libc.so.6"),),
        loader=str(tmp_path / "ld-linux-x86-64.so.2"),
    )


def names(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_the_copy_has_the_names_that_the_interpreter_looks_for(interpreter, tmp_path):
    target = tmp_path / "python"
    install(interpreter, str(target), "/run/x/python3")
    # Python looks for its library below the directory name that it was built with.
    lib = f"{pathlib.Path(interpreter.stdlib).parent.name}/python3.11"
    assert names(target) == {
        "bin/python3",
        "libs/libc.so.6",
        "libs/ld-linux-x86-64.so.2",
        f"{lib}/os.py",
        f"{lib}/json/file",
        f"{lib}/__pycache__/file",
        f"{lib}/lib-dynload/file",
        f"{lib}/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so",
        f"{lib}/sitecustomize.py",
    }
    assert (target / lib / "os.py").stat().st_mtime == 1000


def test_the_builders_customization_stays_behind(interpreter, tmp_path):
    install(interpreter, str(tmp_path / "python"), "/run/x/python3")
    (text,) = [path.read_text() for path in (tmp_path / "python").rglob("sitecustomize.py")]
    assert "of the builder" not in text


def test_programs_that_it_starts_do_not_inherit_its_home(interpreter, tmp_path, monkeypatch):
    """The image's own Python would look for its library in the home of this one."""
    install(interpreter, str(tmp_path / "python"), "/run/x/python3")
    (text,) = [path.read_text() for path in (tmp_path / "python").rglob("sitecustomize.py")]
    for line in wrapper(interpreter, "/run/x/python").splitlines():
        for word in line.split():
            name, separator, _value = word.partition("=")
            if separator and name.startswith("PYTHON"):
                monkeypatch.setenv(name, "/run/x/python")
    assert "PYTHONHOME" in os.environ
    monkeypatch.setattr(sys, "executable", "/run/x/python/bin/python3")
    exec(text, {})
    assert not {name for name in os.environ if name.startswith("PYTHON")} & {
        "PYTHONHOME",
        "PYTHONDONTWRITEBYTECODE",
    }
    # Started by this name it runs; its program alone would take the image's loader and libraries.
    assert sys.executable == "/run/x/python3"


def test_what_a_killed_run_left_is_replaced(interpreter, tmp_path):
    partial = tmp_path / "python.partial" / "bin"
    partial.mkdir(parents=True)
    (partial / "rubbish").touch()
    install(interpreter, str(tmp_path / "python"), "/run/x/python3")
    assert not (tmp_path / "python.partial").exists()
    assert not (tmp_path / "python" / "bin" / "rubbish").exists()


def test_the_wrapper_uses_nothing_of_the_root_but_a_shell(interpreter):
    lines = wrapper(interpreter, "/run/x/python").splitlines()
    assert lines[0] == "#!/bin/sh"
    command = lines[-1]
    assert "PYTHONHOME=/run/x/python " in command
    home = "/run/x/python"
    assert (
        f"exec {home}/libs/ld-linux-x86-64.so.2 --inhibit-cache --library-path {home}/libs"
        in command
    )
    # Packages that root installed for the image's own Python are not for this one.
    assert command.endswith('/run/x/python/bin/python3 -s "$@"')


@pytest.fixture
def started(tmp_path):
    """Start a Python with our customization, which takes a program of this test for that of the image."""

    def started(code, *, own="", user=""):
        text = customization_text("/run/x/python3").replace(IMAGE_PYTHON, own or "/nowhere")
        (tmp_path / "sitecustomize.py").write_text(text)
        (tmp_path / "bin").mkdir(exist_ok=True)
        python = tmp_path / "bin/python3"
        if not python.exists():
            python.symlink_to(getattr(sys, "_base_executable", sys.executable))
        environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
        environment.update({request.USER: user} if user else {}, **{request.OWN: "1"})
        tmp_path.chmod(0o755)
        argv = [python, "-s", "-B", "-c", code]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    return started


def own_python(tmp_path, fits):
    """A program that says whether it fits, and with what it was started."""
    path = tmp_path / "python-of-the-image"
    path.write_text(f'#!/bin/sh\n[ "$1" != -BIc ] || exit {0 if fits else 1}\necho "own: $*"\n')
    path.chmod(0o755)
    return str(path)


def test_the_images_own_python_runs_if_it_fits(started, tmp_path):
    assert started("print(1)", own=own_python(tmp_path, fits=True)) == (
        0,
        "own: -B -c print(1)",
        "",
    )
    assert started("print(1)", own=own_python(tmp_path, fits=False)) == (0, "1", "")
    assert started("print(1)") == (0, "1", "")


def test_what_the_images_own_python_must_have():
    assert subprocess.run([sys.executable, "-BIc", CHECK], check=False).returncode == 0
    old = f"import sys\nsys.version_info = (3, 6)\n{CHECK}"
    assert subprocess.run([sys.executable, "-BIc", old], check=False).returncode == 1
    less = f"import sys\nsys.modules['ctypes'] = None\n{CHECK}"
    done = subprocess.run([sys.executable, "-BIc", less], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_user_that_the_image_lacks_is_named(started):
    status, said, error = started("print(1)", user="nobody-such")
    assert (status, said) == (request.STOPPED, "")
    assert error.startswith(f"{request.SAYS}the image has no user 'nobody-such'")
