# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import shutil
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files
from ansible_collections.sealedroot.image.plugins.plugin_utils import _transfer
from ansible_collections.sealedroot.image.plugins.plugin_utils._builder import Builder
from ansible_collections.sealedroot.image.plugins.plugin_utils._progress import spoken, words
from ansible_collections.sealedroot.image.plugins.plugin_utils._secret_arguments import hidden


class ActionModule(ActionBase):
    """Bring the files of an image from its builder to the control node."""

    _supports_check_mode = True
    _builder: Builder

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> t.Dict[str, t.Any]:
        """Collect the files, or report in check mode that it would."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        _spec, options = self.validate_argument_spec(
            argument_spec={
                "files": {
                    "type": "list",
                    "elements": "dict",
                    "required": True,
                    "options": {
                        "src": {"type": "path", "required": True},
                        "name": {"type": "str"},
                        "mode": {"type": "str", "default": "0600"},
                        "sha256": {"type": "str"},
                        "sparse": {"type": "bool", "default": False},
                    },
                },
                "dest": {"type": "path", "required": True},
            }
        )
        files = options["files"]
        names = [_name(entry) for entry in files]
        bad = [it for it in names if it not in (os.path.basename(it), *image_files.LAUNCH)]
        if bad:
            raise AnsibleActionFail(f"{', '.join(bad)} names no file of an image: leave name out")
        if len(set(names)) != len(names):
            raise AnsibleActionFail(f"two of the files have the same name: {', '.join(names)}")
        result.update(changed=True, files={})
        if not self._task.check_mode:
            self._builder = Builder(self._connection, self._connection.become)
            # From -vvv on, the ssh plugin shows the output of commands, which here is keys and disks. It reads the
            # setting from its own play context, which is not this plugin's.
            self._connection._play_context.no_log = True
            said = words(task_vars, self._task.get_name())
            with hidden(), spoken(Display().display, said):
                result["files"] = self._collect(files, options["dest"])
        return result

    def _collect(
        self, files: t.Sequence[t.Mapping[str, t.Any]], dest: str
    ) -> t.Dict[str, t.Dict[str, t.Any]]:
        """Create *dest* again with all files in it, or remove it on failure."""
        shutil.rmtree(dest, ignore_errors=True)
        os.makedirs(dest, mode=0o700)
        try:
            return {_name(entry): self._fetch(entry, dest) for entry in files}
        except BaseException:
            shutil.rmtree(dest, ignore_errors=True)
            raise

    def _fetch(self, entry: t.Mapping[str, t.Any], dest: str) -> t.Dict[str, t.Any]:
        """Fetch one file and compare it with the digest computed on the builder."""
        path = os.path.join(dest, _name(entry))
        if os.path.dirname(path) != dest:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        mode = int(entry["mode"], 8)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        if entry["sparse"]:
            with open(path, "wb") as file:
                _transfer.fetch_sparse(self._run, entry["src"], file)
        elif self._builder.become is None:
            # The connection's own transfer (sftp) is quicker, but runs as the user who is logged in.
            self._connection.fetch_file(entry["src"], path)
        else:
            with open(path, "wb") as file:
                _transfer.fetch(self._run, entry["src"], file)
        os.chmod(path, mode)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if entry["sha256"] and digest != entry["sha256"]:
            raise AnsibleActionFail(
                f"{entry['src']} did not arrive as it is on the builder (SHA-256 {digest} instead of"
                f" {entry['sha256']}): look at the builder's disk and memory, and build it again"
            )
        # A digest of a passphrase would let readers of a log guess it.
        return {} if mode & 0o077 == 0 else {"sha256": digest, "size": os.path.getsize(path)}

    def _run(self, command: str, in_data: bytes) -> bytes:
        """Run a command on the builder."""
        status, stdout, stderr = self._builder.run(command, in_data)
        if status != 0:
            error = stderr.decode("utf-8", "replace").strip()
            raise AnsibleActionFail(f"'{command}' failed on the builder: {error}")
        return stdout


def _name(entry: t.Mapping[str, t.Any]) -> str:
    return str(entry["name"] or os.path.basename(entry["src"]))
