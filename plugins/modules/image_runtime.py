#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_runtime
short_description: The sandbox that the tasks in an image run in
version_added: 1.0.0
description:
  - Prepares on the builder what the connection P(sealedroot.image.chroot#connection) runs commands of an image with.
    That is a program which makes their sandbox, a filter of system calls, and a Python (the one that runs this module,
    with its standard library, shared libraries and loader). The image needs no Python, and nothing of this stays in it.
  - What the builder gives to the image, C(/run/sealedroot) there, is read-only, and the keys are in it for tasks
    that ask for them only. What the image writes, C(/run) there, is on a tmpfs of its own, which the module mounts
    below O(path).
  - Root of the image is nobody on the builder where its kernel can map the ids of mounts, Linux 5.12 and newer for the
    usual file systems.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  path:
    description: The directory, on a tmpfs, for the builder's root only.
    type: path
    required: true
  root:
    description: The root directory of the image, on the builder.
    type: path
    required: true
  key_file:
    description: The key that the initramfs of the image is to hold; C(/run/sealedroot/boot.key) there.
    type: path
    required: true
  header_file:
    description:
      - The header that the initramfs of the image is to open the disk with; C(/run/sealedroot/luks.header) there.
    type: path
    required: true
  network:
    description: Whether to return what tasks in the image that have a network take over from the builder.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Prepare the sandbox of the image
  sealedroot.image.image_runtime:
    path: /var/tmp/build/private/run
    root: /var/tmp/build/root
    key_file: /var/tmp/build/private/keys/boot.key
    header_file: /var/tmp/build/private/luks.header
"""

RETURN = r"""
python:
  description: The interpreter to use in the image.
  type: str
  returned: success
  sample: /run/sealedroot/python3
maps_ids:
  description: Whether root of the image is nobody on the builder.
  type: bool
  returned: not in check mode
maps_ids_reason:
  description: Why it is not, as the kernel or bwrap says it.
  type: str
  returned: when it is not
network:
  description: What tasks in the image that have a network take over from the builder.
  type: dict
  returned: when O(network) is true
  contains:
    resolv_conf:
      description: The text of C(/etc/resolv.conf) for them, with the builder's search domains and options.
      type: str
      sample: nameserver 10.0.2.3
    check_valid_until:
      description: Whether apt of the builder refuses lists of packages that are out of date; true without apt.
      type: bool
"""

import os
import py_compile
import shlex
import shutil
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import (
    ids,
    main as launcher,
    request,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import (
    network,
    python_runtime,
    seccomp,
    step_files,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

# The image's /run, and what Ansible transfers into it, get one part in so many of the builder's memory.
OWN_SHARE = 4
MAPS_IDS = b"maps_ids=True"
# Starts the launcher. With -I, Python's path has no directory of ours. Ours comes last in it, so that no file there can
# replace the standard library.
START = """\
import sys
sys.path.append({path!r})
from _launcher.main import main
raise SystemExit(main())
"""


def read(path: str) -> t.Optional[bytes]:
    """Return the content of a file; None if it does not exist."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path: str, data: bytes, mode: int) -> None:
    """Write a new file in place of anything that is there, with its mode from the first moment."""
    if os.path.lexists(path):
        os.unlink(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)


def open_directories(above: str, *names: str) -> None:
    """Make directories that every user of the image can enter, whatever the builder's umask is."""
    for name in names:
        path = os.path.join(above, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o755)  # noqa: S103


def give(runner: Runner, directory: str, *, checks_valid_until: bool) -> str:
    """Make the part that the image can only read, and return the name of the loader of its Python."""
    open_directories(directory, "", "bin", "tmp", request.OUTPUT)
    apt_conf = step_files.apt_conf(checks_valid_until=checks_valid_until)
    for name, text, mode in (*step_files.FILES, ("apt.conf", apt_conf, 0o644)):
        write(os.path.join(directory, name), text.encode("ascii"), mode)
    for name in (*request.SECRETS, request.DISK):
        write(os.path.join(directory, name), b"", 0o444)
    interpreter = python_runtime.find(runner)
    python = os.path.join(directory, "python")
    shutil.rmtree(python, ignore_errors=True)
    program = f"{request.IN_IMAGE}/python3"
    python_runtime.install(interpreter, python, program)
    script = python_runtime.wrapper(interpreter, request.PYTHON)
    write(os.path.join(directory, "python3"), script.encode("ascii"), 0o755)
    return os.path.basename(interpreter.loader)


def mount_own(runner: Runner, directory: str) -> None:
    """Mount a tmpfs for the image's own files, with its own size, so that they cannot fill the tmpfs of the keys."""
    os.makedirs(directory, exist_ok=True)
    if not os.path.ismount(directory):
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // OWN_SHARE
        options = f"nosuid,nodev,mode=0755,size={size}"
        argv = [runner.find("mount"), "-t", "tmpfs", "-o", options, "tmpfs", directory]
        runner.run(argv, timeout=60)
    open_directories(directory, "run", "run/sealedroot", request.OUTPUT)
    # Where Ansible puts files for each user of the image, and where these do.
    for name in ("tmp", request.LASTING_TMP):
        open_directories(directory, name)
        os.chmod(os.path.join(directory, name), 0o1777)  # noqa: S103


def launcher_sources() -> t.Dict[str, bytes]:
    """Return the sources of the launcher by their names in its package, from the zip that Ansible sent or from files.

    These are the modules that importing the launcher here has loaded.
    """
    package = launcher.__name__.rpartition(".")[0] + "."
    sources = {}
    for name, module in list(sys.modules.items()):
        if name.startswith(package):
            source = t.cast(t.Any, module).__loader__.get_source(name)
            # Ansible's own loader returns bytes.
            sources[name[len(package) :]] = source if isinstance(source, bytes) else source.encode()
    return sources


def compile_alone(path: str, source: bytes) -> None:
    """Write *source* in compiled form only: if the source were beside it, Python would compile it again."""
    plain = path[: -len("c")]
    write(plain, source, 0o400)
    py_compile.compile(plain, cfile=path, doraise=True)
    os.chmod(path, 0o400)
    os.unlink(plain)


def install_launcher(sandbox: str) -> str:
    """Write the launcher and return the path of what starts it; compiled, because it runs for every command."""
    start, directory = os.path.join(sandbox, "launcher.pyc"), os.path.join(sandbox, "launcher")
    shutil.rmtree(directory, ignore_errors=True)
    package = os.path.join(directory, "_launcher")
    for path in (directory, package):
        os.mkdir(path, 0o700)
    for name, source in launcher_sources().items():
        compile_alone(os.path.join(package, f"{name}.pyc"), source)
    compile_alone(start, START.format(path=directory).encode())
    return start


def prepare(runner: Runner, sandbox: str, loader: str) -> t.Dict[str, t.Any]:
    """Write what starts the launcher, the system call filter and a copy of bwrap, and return the settings."""
    library = seccomp.load()
    os.makedirs(sandbox, mode=0o700, exist_ok=True)
    write(os.path.join(sandbox, "empty"), b"", 0o444)
    argv = ("exec", sys.executable, "-IS", install_launcher(sandbox))
    line = " ".join(map(shlex.quote, argv))
    write(os.path.join(sandbox, "launch"), f'#!/bin/sh\n{line} "$@"\n'.encode(), 0o500)
    with open(os.path.join(sandbox, "filter.bpf"), "wb") as file:
        seccomp.export(library, file.fileno(), os.uname().machine)
    bwrap = runner.find("bwrap")
    write(os.path.join(sandbox, "bwrap"), read(bwrap) or b"", 0o500)
    return {
        "bwrap": bwrap,
        "slirp4netns": shutil.which("slirp4netns") or "",
        "loader": loader,
        "keyctl": seccomp.number(library, "keyctl"),
    }


def choose_ids(runner: Runner, path: str, root: str, settings: t.Mapping[str, t.Any]) -> str:
    """Try whether the ids of the root can be mapped, and write the settings; return why not, if they cannot."""
    sandbox = os.path.join(path, "sandbox")
    _own(path, ids.FIRST_ID)
    write_settings(sandbox, {**settings, "maps_ids": True})
    argv = [os.path.join(sandbox, "launch"), f"root={root}", "probe=1", "deadline=60"]
    done = runner.run([*argv, "python", "-c", ""], check=False, timeout=90)
    if done.rc == 0:
        return ""
    _own(path, 0)
    write_settings(sandbox, {**settings, "maps_ids": False})
    return (done.stderr or done.stdout).strip() or f"status {done.rc}"


def write_settings(sandbox: str, settings: t.Mapping[str, t.Any]) -> None:
    """Write the settings as the launcher reads them."""
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    write(os.path.join(sandbox, "settings"), text.encode(), 0o400)


def _own(path: str, owner: int) -> None:
    """Make the image's root the owner of what the image may read or write."""
    own, secrets = os.path.join(path, "own"), os.path.join(path, "secrets")
    for name in ("run", "tmp", request.LASTING_TMP, request.OUTPUT):
        os.chown(os.path.join(own, name), owner, owner)
    for name in ("", *request.SECRETS):
        os.chown(os.path.join(secrets, name), owner, owner)


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Prepare the directory."""
    container.check_key_file(params["key_file"])
    container.check_key_file(params["header_file"], "header file")
    path = params["path"]
    sandbox, secrets_dir = os.path.join(path, "sandbox"), os.path.join(path, "secrets")
    secrets = {
        os.path.join(secrets_dir, name): read(params[option]) or b""
        for name, option in zip(request.SECRETS, ("key_file", "header_file"))
    }
    # The settings are written last, so if they exist, everything does.
    settings_path = os.path.join(sandbox, "settings")
    before = read(settings_path) or b""
    have_sandbox = bool(before) and os.path.ismount(os.path.join(path, "own"))
    have_secrets = all(read(name) == content for name, content in secrets.items())
    reason = ""
    taken = taken_over(runner) if params["network"] else {}
    if not check_mode and not (have_secrets and have_sandbox):
        owner = ids.FIRST_ID if have_sandbox and MAPS_IDS in before else 0
        os.makedirs(secrets_dir, mode=0o700, exist_ok=True)
        for name, content in secrets.items():
            write(name, content, 0o400)
            os.chown(name, owner, owner)
        if not have_sandbox:
            checks = taken.get("check_valid_until", True)
            given = os.path.join(path, "given")
            settings = prepare(runner, sandbox, give(runner, given, checks_valid_until=checks))
            mount_own(runner, os.path.join(path, "own"))
            reason = choose_ids(runner, path, params["root"], settings)
    return {
        "changed": not (have_secrets and have_sandbox),
        "python": f"{request.IN_IMAGE}/python3",
        **({} if check_mode else {"maps_ids": MAPS_IDS in (read(settings_path) or b"")}),
        **({"maps_ids_reason": reason} if reason else {}),
        **({"network": taken} if taken else {}),
        "diff": {
            "before": {"sandbox": have_sandbox, "secrets": have_secrets},
            "after": {"sandbox": True, "secrets": True},
        },
    }


def taken_over(runner: Runner) -> t.Dict[str, t.Any]:
    """Return what tasks that have a network take over from the builder."""
    builder = (read("/etc/resolv.conf") or b"").decode("utf-8", "replace")
    return {
        "resolv_conf": network.resolv_conf(builder),
        "check_valid_until": network.checks_valid_until(runner),
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "key_file": {"type": "path", "required": True, "no_log": False},
            "header_file": {"type": "path", "required": True},
            "network": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
