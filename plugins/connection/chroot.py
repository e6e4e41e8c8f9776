# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chroot
short_description: Run tasks in the root directory of an image on its builder
description:
  - Runs commands in a root directory on the builder, each in namespaces of its own (mount, pid, ipc, uts)
    and with only those capabilities that package managers need, by C(bwrap) on the builder.
  - The environment is built from scratch. The image sees its own C(/dev), C(/proc), an empty C(/sys), a
    C(/tmp) that is new for each command, and a C(/run) that lasts for the build; nothing stays mounted.
  - Files are transferred by commands in the image, so a symbolic link in it leads nowhere but into it.
  - The idea is that of P(community.general.chroot#connection).
author: The sealedroot.image authors (@sealedroot)
notes:
  - Nothing that a command starts outlives it, so C(async) tasks do not work; see O(detach) for raw tasks.
  - Set the address of a remote builder, C(ansible_host), for the image too. The user there must be root.
  - Privilege escalation is not supported, and not needed, since commands run as root of the image.
  - The image needs no Python. Set C(ansible_python_interpreter) to V(/run/sealedroot/python3) to use the one
    that M(sealedroot.image.image_runtime) prepared; raw tasks need none.
  - For C(copy), C(template) and other tasks that transfer files, set C(ansible_remote_tmp) to
    V(/run/sealedroot/tmp), so that nothing of them stays in the image.
options:
  root:
    description: The root directory of the image, on the builder.
    type: str
    vars:
      - name: image_root
  run_dir:
    description: The directory on the builder, on a tmpfs, that is C(/run) in the image.
    type: str
    vars:
      - name: image_run
  device:
    description: The block device of the root file system, the only one that the image sees.
    type: str
    vars:
      - name: image_device
  root_uuid:
    description: The UUID of the root file system, for C(/dev/disk/by-uuid) in the image.
    type: str
    vars:
      - name: image_root_uuid
  detach:
    description:
      - A file on the builder, out of the reach of the image. When it is set, a command is started and left to
        itself. The file gets what it prints and a last line C(exit status N), and is locked until then, so
        that P(sealedroot.image.awaited#filter) can wait for it on the builder. For raw tasks only.
    type: path
    vars:
      - name: image_detach
  via:
    description: The connection plugin that reaches the builder.
    type: str
    default: ansible.builtin.local
    vars:
      - name: image_builder_connection
  pipelining:
    description: Send modules on standard input instead of writing them into the image.
    type: bool
    default: true
    vars:
      - name: ansible_chroot_pipelining
  host:
    description: The address of the builder. This and the options below are handed on to the plugin in O(via).
    type: str
    vars:
      - name: ansible_host
      - name: ansible_ssh_host
  port:
    description: The port to connect to.
    type: int
    vars:
      - name: ansible_port
      - name: ansible_ssh_port
  remote_user:
    description: The user to log in as.
    type: str
    vars:
      - name: ansible_user
      - name: ansible_ssh_user
  password:
    description: The password of O(remote_user).
    type: str
    vars:
      - name: ansible_password
      - name: ansible_ssh_pass
      - name: ansible_ssh_password
  password_mechanism:
    description: How C(ssh) is given the password.
    type: str
    vars:
      - name: ansible_ssh_password_mechanism
  sshpass_prompt:
    description: The prompt that asks for the password.
    type: str
    vars:
      - name: ansible_sshpass_prompt
  private_key_file:
    description: The file of the private key.
    type: str
    vars:
      - name: ansible_private_key_file
      - name: ansible_ssh_private_key_file
  private_key:
    description: The private key itself.
    type: str
    vars:
      - name: ansible_private_key
      - name: ansible_ssh_private_key
  private_key_passphrase:
    description: The passphrase of O(private_key).
    type: str
    vars:
      - name: ansible_private_key_passphrase
      - name: ansible_ssh_private_key_passphrase
  pkcs11_provider:
    description: The PKCS 11 provider of a smart card.
    type: str
    vars:
      - name: ansible_ssh_pkcs11_provider
  host_key_checking:
    description: Whether the builder's host key is checked.
    type: bool
    vars:
      - name: ansible_host_key_checking
      - name: ansible_ssh_host_key_checking
  ssh_executable:
    description: The C(ssh) program.
    type: str
    vars:
      - name: ansible_ssh_executable
  ssh_args:
    description: Arguments of C(ssh).
    type: str
    vars:
      - name: ansible_ssh_args
  ssh_common_args:
    description: More arguments of C(ssh).
    type: str
    vars:
      - name: ansible_ssh_common_args
  ssh_extra_args:
    description: Still more arguments of C(ssh).
    type: str
    vars:
      - name: ansible_ssh_extra_args
  reconnection_retries:
    description: How often to try to connect.
    type: int
    vars:
      - name: ansible_ssh_retries
  timeout:
    description: Seconds to wait for the connection.
    type: int
    vars:
      - name: ansible_ssh_timeout
  control_path:
    description: The socket that connections share.
    type: str
    vars:
      - name: ansible_control_path
  control_path_dir:
    description: The directory of O(control_path).
    type: str
    vars:
      - name: ansible_control_path_dir
  verbosity:
    description: How much C(ssh) says.
    type: int
    vars:
      - name: ansible_ssh_verbosity
"""

import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader
from ansible_collections.sealedroot.image.plugins.plugin_utils._chroot_env import (
    Sandbox,
    shell_command,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils._detached import detached

# Files pass in pieces of this size, so that one may be larger than the controller's memory.
CHUNK = 8 << 20


class Connection(ConnectionBase):
    """A connection into the root directory of an image."""

    transport = "sealedroot.image.chroot"
    has_pipelining = True
    has_tty = False

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._builder: t.Any = None
        self._sandbox = Sandbox("", "")
        self._handed_on: t.Dict[str, t.Any] = {}

    def set_options(
        self, task_keys: t.Any = None, var_options: t.Any = None, direct: t.Any = None
    ) -> None:
        """Keep what the connection to the builder takes its own options from."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        self._handed_on = {"task_keys": task_keys, "var_options": var_options}

    def _connect(self) -> Connection:
        """Check the options and connect to the builder."""
        if self._connected:
            return self
        self._sandbox = Sandbox(
            root=self.get_option("root") or "",
            run_dir=self.get_option("run_dir") or "",
            device=self.get_option("device") or "",
            root_uuid=self.get_option("root_uuid") or "",
        )
        problem = self._sandbox.problem()
        if problem:
            raise AnsibleConnectionFailure(f"no image to connect to: {problem}")
        via = self.get_option("via")
        self._builder = connection_loader.get(via, self._play_context)
        if self._builder is None:
            raise AnsibleConnectionFailure(f"there is no connection plugin '{via}'")
        if self._builder.has_option("host") and not self.get_option("host"):
            raise AnsibleConnectionFailure(
                f"'{via}' needs the address of the builder: set ansible_host for the image too"
            )
        self._builder.set_options(**self._handed_on)
        self._builder._connect()
        self._connected = True
        return self

    def exec_command(
        self, cmd: str, in_data: t.Optional[bytes] = None, sudoable: bool = True
    ) -> t.Tuple[int, bytes, bytes]:
        """Run a command in the image."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)  # type: ignore[safe-super]
        self._connect()
        log = self.get_option("detach")
        line = shell_command(self._sandbox, cmd)
        result: t.Tuple[int, bytes, bytes] = self._builder.exec_command(
            detached(line, log) if log else line, in_data=in_data or b"", sudoable=False
        )
        status, stdout, stderr = result
        if status == 127 and stderr.rstrip().endswith(b"bwrap: not found"):
            raise AnsibleConnectionFailure(
                "bwrap is not installed on the builder: install bubblewrap"
            )
        if status == 1 and stderr.startswith(b"bwrap: "):
            said = stderr.decode("utf-8", "replace").strip()
            raise AnsibleConnectionFailure(f"no command can run in {self._sandbox.root}: {said}")
        return status, stdout, stderr

    def _must(self, command: str, in_data: bytes = b"") -> bytes:
        """Run a command of a transfer; its failure is the transfer's."""
        status, stdout, stderr = self.exec_command(command, in_data=in_data)
        if status != 0:
            said = stderr.decode("utf-8", "replace").strip()
            raise AnsibleConnectionFailure(f"'{command}' failed in the image: {said}")
        return stdout

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the controller into the image."""
        super().put_file(in_path, out_path)  # type: ignore[safe-super]
        target = self._shell.quote(out_path)
        with open(in_path, "rb") as file:
            operator = ">"
            while operator:
                data = file.read(CHUNK)
                if data or operator == ">":
                    self._must(f"cat {operator} {target}", data)
                operator = ">>" if len(data) == CHUNK else ""

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the image to the controller."""
        super().fetch_file(in_path, out_path)  # type: ignore[safe-super]
        source = self._shell.quote(in_path)
        with open(out_path, "wb") as file:
            index = 0
            while True:
                data = self._must(f"dd if={source} bs={CHUNK} skip={index} count=1 status=none")
                file.write(data)
                index += 1
                if len(data) < CHUNK:
                    break

    def close(self) -> None:
        """Close the connection to the builder."""
        if self._builder is not None:
            self._builder.close()
        self._connected = False
