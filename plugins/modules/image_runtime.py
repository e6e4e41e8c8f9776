#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_runtime
short_description: What the tasks in an image need, in a directory that is /run there
description:
  - Puts a Python (the one that runs this module, with its standard library, shared libraries and loader), the boot
    key and the LUKS header into a directory on the builder, which the connection
    P(sealedroot.image.chroot#connection) shows to the image as C(/run). The image needs no Python, and none of this
    stays in it.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  path:
    description: The directory, on a tmpfs.
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
"""

EXAMPLES = r"""
- name: Prepare what the image sees as /run
  sealedroot.image.image_runtime:
    path: /var/tmp/build/private/run
    key_file: /var/tmp/build/private/keys/boot.key
    header_file: /var/tmp/build/private/luks.header
"""

RETURN = r"""
python:
  description: The interpreter to use in the image.
  type: str
  returned: success
  sample: /run/sealedroot/python3
"""

import os
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import (
    _luks_container,
    _python_runtime,
)
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

IN_IMAGE = "/run/sealedroot"


def read(path: str) -> t.Optional[bytes]:
    """Return what a file holds, or None when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path: str, data: bytes, mode: int) -> None:
    """Write a new file, in place of whatever is there, with its mode from the first moment."""
    if os.path.lexists(path):
        os.unlink(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Prepare the directory."""
    _luks_container.check_key_file(params["key_file"])
    _luks_container.check_key_file(params["header_file"], "header file")
    directory = os.path.join(params["path"], "sealedroot")
    secrets = {
        os.path.join(directory, name): read(params[option]) or b""
        for name, option in (("boot.key", "key_file"), ("luks.header", "header_file"))
    }
    python = os.path.join(directory, "python")
    program = os.path.join(directory, "python3")
    # The program is written last.
    have_secrets = all(read(path) == content for path, content in secrets.items())
    have_python = os.path.isdir(python) and os.path.isfile(program)
    if not check_mode:
        # tmp: for tasks that transfer files, see the connection.
        os.makedirs(os.path.join(directory, "tmp"), mode=0o700, exist_ok=True)
        os.chmod(directory, 0o755)  # noqa: S103 - users of the image pass through it
        for path, content in secrets.items():
            if read(path) != content:
                write(path, content, 0o400)
        if not have_python:
            interpreter = _python_runtime.find(runner)
            shutil.rmtree(python, ignore_errors=True)
            _python_runtime.install(interpreter, python, f"{IN_IMAGE}/python3")
            script = _python_runtime.wrapper(interpreter, f"{IN_IMAGE}/python")
            write(program, script.encode("ascii"), 0o755)
    return {
        "changed": not (have_secrets and have_python),
        "python": f"{IN_IMAGE}/python3",
        "diff": {
            "before": {"python": have_python, "secrets": have_secrets},
            "after": {"python": True, "secrets": True},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "key_file": {"type": "path", "required": True, "no_log": False},
            "header_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
