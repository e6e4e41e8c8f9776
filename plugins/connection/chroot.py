# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chroot
short_description: Run tasks in the root directory of an image on its builder
version_added: 1.0.0
description:
  - Runs commands in a root directory on the builder, each in a sandbox of its own by C(bwrap), which
    M(sealedroot.image.image_runtime) has prepared there. The root is not trusted; C(docs/sandbox.md) of the collection
    says what it can reach and what not, with the test of each line.
  - Modules start by the Python of the builder, without a shell, loader or library of the image. Of what comes back
    from an image, only data is left.
  - The environment is built from scratch. The image sees its own C(/dev), C(/proc), an empty C(/sys), a
    C(/tmp) that is new for each command, and a C(/run) that lasts for the build; nothing stays mounted.
  - There is no network but for tasks that ask for it (O(network)).
  - Files are transferred by that Python in the image, so a symbolic link in it leads nowhere but into it, and anything
    but a regular file is refused.
  - The idea is that of P(community.general.chroot#connection).
author: The sealedroot.image authors (@sealedroot)
notes:
  - Nothing that a command starts outlives it, so an C(async) task runs to its end at once; see O(detach) for raw tasks.
  - The builder is reached as its own variables say (C(ansible_connection), C(ansible_host), C(ansible_user),
    C(ansible_become) and all the others), so the image needs none of them.
  - Commands run as root of the image, or as O(become_user), a user of the image. On the builder the user who is logged
    in becomes root, as the builder's variables say, else as C(--become) does, else as the play does (C(become)).
  - The image needs no Python. Set C(ansible_python_interpreter) to V(/run/sealedroot/python3) to use the one
    that M(sealedroot.image.image_runtime) prepared; modules of this collection always do, and raw tasks need none.
  - What C(copy), C(template) and other tasks transfer is in C(/run/sealedroot/tmp), so that nothing of it stays in the
    image, and neither does the record of an C(async) task.
  - Facts of M(ansible.builtin.setup) that would describe the builder are the image's, or are left out;
    C(docs/customize.md) of the collection has the table.
options:
  root:
    description: The root directory of the image, on the builder.
    type: str
    vars:
      - name: image_root
  run_dir:
    description: The directory on the builder that M(sealedroot.image.image_runtime) prepared.
    type: str
    vars:
      - name: image_run
  device:
    description: The block device of the root file system, the only one that the image sees. It can only read it.
    type: str
    vars:
      - name: image_device
  root_device:
    description: The name that the device will have in the machine, such as C(/dev/mapper/cr_root).
    type: str
    vars:
      - name: image_root_device
  network:
    description: Whether the task reaches the network of the builder, by C(slirp4netns); never the builder's loopback.
    type: bool
    default: false
    vars:
      - name: image_network
  secrets:
    description: Whether C(/run/sealedroot) has the boot key and the LUKS header in it.
    type: bool
    default: false
    vars:
      - name: image_secrets
  output:
    description: Whether the task can write to C(/run/sealedroot/esp), from which the builder takes files.
    type: bool
    default: false
    vars:
      - name: image_output
  lasting_tmp:
    description: Whether C(/tmp) is that of all tasks that set this, and lasts for the build, instead of a new one.
    type: bool
    default: false
    vars:
      - name: image_lasting_tmp
  deadline:
    description: After so many seconds a command is ended with all that it started. A C(timeout) is of core's own.
    type: int
    default: 3600
    vars:
      - name: image_command_timeout
  detach:
    description:
      - A file on the builder, out of the reach of the image. When it is set, a command is started and left to
        itself. The file gets what it prints and a last line C(exit status N), and is locked until then, so
        that P(sealedroot.image.awaited#filter) can wait for it on the builder. For raw tasks only.
    type: path
    vars:
      - name: image_detach
  become_user:
    description: The user of the image that a task with C(become) runs as.
    type: str
    default: root
    keyword:
      - name: become_user
    vars:
      - name: ansible_become_user
  image_environment:
    description: Variables of the environment of each command; those of a task come on top.
    type: dict
    default: {}
    vars:
      - name: image_environment
  hostname:
    description: The name that the machine will have, for the facts.
    type: str
    vars:
      - name: image_hostname
  python:
    description:
      - The Python of modules that are not of this collection, whatever C(ansible_python_interpreter) is; unlike this
        variable, it does not hold for the host that a task is delegated to. V(/run/sealedroot/image-python3) is the
        image's own, or the builder's where it has none that Ansible can use.
    type: str
    vars:
      - name: image_python
  builder:
    description: The inventory host that builds the image, whose variables say how it is reached.
    type: str
    default: localhost
    vars:
      - name: image_builder
  pipelining:
    description: Send modules on standard input instead of writing them into the image.
    type: bool
    default: true
    vars:
      - name: ansible_chroot_pipelining
"""

import os
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.become import BecomeBase
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display
from ansible_collections.sealedroot.image.plugins.plugin_utils import _answers
from ansible_collections.sealedroot.image.plugins.plugin_utils._builder import Builder, connect
from ansible_collections.sealedroot.image.plugins.plugin_utils._chroot_env import (
    PYTHON,
    READ,
    SAYS,
    STOPPED,
    TRANSFERS,
    WRITE,
    Sandbox,
    awaited_command,
    command_line,
    launch,
    refused,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils._detached import detached
from ansible_collections.sealedroot.image.plugins.plugin_utils._image_facts import ImageFacts
from ansible_collections.sealedroot.image.plugins.plugin_utils._progress import spoken, words
from ansible_collections.sealedroot.image.plugins.plugin_utils._transfer import CHUNK


class Connection(ConnectionBase):
    """A connection into the root directory of an image."""

    transport = "sealedroot.image.chroot"
    has_pipelining = True
    has_tty = False

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._builder: t.Optional[Builder] = None
        self._sandbox = Sandbox("", "")
        self._variables: t.Mapping[str, t.Any] = {}
        self._task_keys: t.Mapping[str, t.Any] = {}
        self._become: t.Optional[BecomeBase] = None

    def _resolve_option_variables(self, variables: t.Any, templar: t.Any) -> t.Any:
        """Keep all variables: they include the builder's, which are needed to reach it."""
        self._variables = variables
        return super()._resolve_option_variables(variables, templar)

    def set_options(
        self, task_keys: t.Any = None, var_options: t.Any = None, direct: t.Any = None
    ) -> None:
        """Keep the task's keywords, because they apply to the builder too."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        self._task_keys = task_keys or {}

    def set_become_plugin(self, plugin: t.Optional[BecomeBase]) -> None:
        """Keep the plugin for the builder: as this connection's own, it would make core escalate in the image."""
        self._become = plugin

    def update_vars(self, variables: t.Any) -> None:
        """Set what depends on where the task runs.

        As a variable of the task it would hold for a host that the task is delegated to.
        """
        super().update_vars(variables)
        # Our modules look at a hostile image: nobody's variable makes it run them.
        python = PYTHON if self._is_ours() else self.get_option("python")
        if python:
            variables["ansible_python_interpreter"] = python
            # There core looks for it where a task is delegated, to its own host or to another image.
            name, delegated = self._task_keys.get("delegate_to"), "ansible_delegated_vars"
            if name in variables.get(delegated, {}):
                there = {**variables[delegated][name], "ansible_python_interpreter": python}
                variables[delegated] = {**variables[delegated], name: there}
        self._shell.set_option("remote_tmp", TRANSFERS)
        # Who comes first makes it, and nobody else can write there.
        self._shell.set_option("async_dir", f"{TRANSFERS}/async-{self._user()}")

    def _connect(self) -> Connection:
        """Check the options and connect to the builder."""
        # A connection is kept for the next item of a loop, which can have other options.
        self._sandbox = Sandbox(
            root=self.get_option("root") or "",
            run_dir=self.get_option("run_dir") or "",
            device=self.get_option("device") or "",
            root_device=self.get_option("root_device") or "",
            network=self.get_option("network"),
            secrets=self.get_option("secrets"),
            output=self.get_option("output"),
            lasting_tmp=self.get_option("lasting_tmp"),
            deadline=self.get_option("deadline"),
            user=self._user(),
            environment=self.get_option("image_environment") or {},
        )
        delegate = self._task_keys.get("delegate_to")
        if delegate and not self._sandbox.root:
            raise AnsibleConnectionFailure(
                f"the task is delegated to {delegate}, which is no image and has no ansible_connection: set it in the"
                " inventory, such as to ssh"
            )
        problem = self._sandbox.problem()
        if problem:
            raise AnsibleConnectionFailure(f"no image to connect to: {problem}")
        refusal = refused(self._task_keys, is_detached=bool(self.get_option("detach")))
        if refusal:
            raise AnsibleError(refusal)
        if self._connected:
            return self
        self._builder = connect(
            self.get_option("builder"),
            hosts=self._variables.get("hostvars") or {},
            task_keys=self._task_keys,
            become=self._become,
            play_context=self._play_context,
        )
        self._connected = True
        return self

    def exec_command(
        self, cmd: str, in_data: t.Optional[bytes] = None, sudoable: bool = True
    ) -> t.Tuple[int, bytes, bytes]:
        """Run a command in the image, and return its output as harmless text."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)  # type: ignore[safe-super]
        self._connect()
        build = awaited_command if self._task_keys.get("async_val") else command_line
        status, stdout, stderr = self._run(build(self._sandbox, cmd), in_data or b"")
        # Filter every output, not only that of modules: another Python can have started a module as well.
        return status, _answers.plain(stdout, self._known()), _answers.shown(stderr)

    def _known(self) -> t.Optional[ImageFacts]:
        """Return what facts are corrected by; None for our modules, from which it comes."""
        action = str(self._task_keys.get("action"))
        if self._is_ours():
            return None
        return ImageFacts(
            self._variables.get("ansible_facts"),
            self.get_option("hostname"),
            awaits_job=bool(self._task_keys.get("async_val")) or action.endswith("async_status"),
        )

    def _user(self) -> str:
        """Return the user of the image that the task runs as."""
        return str((self._become and self.get_option("become_user")) or "root")

    def _is_ours(self) -> bool:
        """Say whether the task's module is one of this collection."""
        return str(self._task_keys.get("action")).startswith("sealedroot.image.")

    def _run(self, line: str, in_data: bytes) -> t.Tuple[int, bytes, bytes]:
        """Run a line of shell that starts the launcher on the builder."""
        log = self.get_option("detach")
        builder = t.cast(Builder, self._builder)
        name = str(self._task_keys.get("name") or self._task_keys.get("action"))
        with spoken(Display().display, words(self._variables, name)):
            status, stdout, stderr = builder.run(detached(line, log) if log else line, in_data)
        message = stderr.decode("utf-8", "replace").strip()
        # Fail only the task: for an unreachable host, the play would stop without releasing its builder.
        if status == 126 and "sandbox/launch" in message and builder.become is None:
            raise AnsibleError(
                f"{self._sandbox.run_dir} is not for the user who is logged in to {self.get_option('builder')}: log in"
                " as root, or set ansible_become for it in the inventory, which holds whatever a task says of become"
            )
        if status in (126, 127) and "sandbox/launch" in message:
            raise AnsibleError(
                f"{self._sandbox.run_dir} has no sandbox: run the module image_runtime for it first"
            )
        last = message.rpartition("\n")[2]
        if (status == STOPPED and last.startswith(SAYS)) or (
            status == 1 and message.startswith("bwrap: ")
        ):
            raise AnsibleError(
                f"no command can run in {self._sandbox.root}: {_answers.short(last)}"
            )
        return status, stdout, stderr

    def _python(self, code: str, *arguments: str, in_data: bytes = b"") -> bytes:
        """Run a few lines of Python in the image; raise an error for the transfer if they fail."""
        self._connect()
        line = launch(self._sandbox, "python", "-c", code, *arguments)
        status, stdout, stderr = self._run(line, in_data)
        if status != 0:
            error = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise AnsibleError(f"'{arguments[0]}' cannot be transferred: {_answers.short(error)}")
        return stdout

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the controller into the image."""
        super().put_file(in_path, out_path)  # type: ignore[safe-super]
        with open(in_path, "rb") as file:
            position = 0
            while True:
                data = file.read(CHUNK)
                if data or not position:
                    self._python(WRITE, out_path, str(position), in_data=data)
                position += len(data)
                if len(data) < CHUNK:
                    break

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the image to the controller."""
        super().fetch_file(in_path, out_path)  # type: ignore[safe-super]
        with open(out_path, "wb") as file:
            while True:
                data = self._python(READ, in_path, str(file.tell()), str(CHUNK))
                # Keep holes: a sparse file of an image can have any size without using blocks.
                if data.count(0) == len(data):
                    file.seek(len(data), os.SEEK_CUR)
                else:
                    file.write(data)
                if len(data) < CHUNK:
                    break
            file.truncate()

    def close(self) -> None:
        """Close the connection to the builder."""
        if self._builder is not None:
            self._builder.close()
        self._connected = False
