# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shlex
import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.sealedroot.image.plugins.module_utils._build import lease, lease_holder
from ansible_collections.sealedroot.image.plugins.module_utils._system import edge
from ansible_collections.sealedroot.image.plugins.plugin_utils._builder import Builder

MODULE = "sealedroot.image.build_lease"
# The holder waits as long as four beats.
BEAT = lease_holder.SILENCE / 4
# The exit status of _tell's own command: the lease is no longer ours.
GONE = 3


class ActionModule(ActionBase):
    """Take the lease of a build for as long as this play runs, or release it.

    This runs in a worker process that ends with the task; its parent is the play.
    """

    _supports_check_mode = True

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> t.Dict[str, t.Any]:
        """Take or release the lease on the control node and on the builder."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        _spec, options = self.validate_argument_spec(argument_spec=lease.ARGUMENTS)
        play = lease_holder.process(os.getppid())
        own = lease.owner(play, task_vars["inventory_hostname"])
        here = [options["output_dir"]] if options["collected"] else []
        self._ensure(here, options["state"], own, play)
        try:
            result.update(self._on_builder(options, own, play, task_vars))
        finally:
            if result.get("failed"):
                self._ensure(here, "absent", own, play)
        return result

    def _ensure(
        self, directories: t.Sequence[str], state: str, own: lease.Owner, play: lease_holder.Process
    ) -> None:
        """Take or release the lease on the control node."""
        check_mode = bool(self._task.check_mode)
        try:
            lease.ensure(directories, state, own, lease_holder.lives(play), check_mode=check_mode)
        except edge.EXPECTED as exc:
            raise AnsibleActionFail(edge.sentence(exc)) from None

    def _on_builder(
        self,
        options: t.Mapping[str, t.Any],
        own: lease.Owner,
        play: lease_holder.Process,
        task_vars: t.Mapping[str, t.Any],
    ) -> t.Dict[str, t.Any]:
        is_here = self._connection.transport == "local"
        if is_here and Builder(self._connection, self._connection.become).become is None:
            # The same user on the same machine needs no module.
            there = [
                options["work_dir"],
                *([] if options["collected"] else [options["output_dir"]]),
            ]
            self._ensure(there, options["state"], own, play)
            return {"id": own.id, "file": lease.path_of(options["work_dir"])}
        asked: t.Dict[str, t.Any] = {"id": own.id, "who": own.who}
        if is_here:
            asked.update(pid=play[0], start=play[1])
        beats = not is_here and options["state"] == "present" and not self._task.check_mode
        heart = Heart(self._connection, own, play) if beats else None
        result: t.Dict[str, t.Any] = self._execute_module(
            module_name=MODULE, module_args={**options, "play": asked}, task_vars=task_vars
        )
        if heart:
            heart.begin("" if result.get("failed") else result["file"])
        return result


class Silence:
    """Replaces the display queue of the play, which does not exist in a separate process."""

    def __getattr__(self, _name: str) -> t.Callable[..., None]:
        return lambda *_words, **_more: None


class Heart:
    """A separate process that tells the lease's holder on another machine that the play still runs, and when it ends.

    It is started before the connection is used, because some plugins cannot share an open one with another process.
    Then it waits.
    """

    def __init__(self, connection: t.Any, own: lease.Owner, play: lease_holder.Process) -> None:
        self._connection, self._id, self._play = connection, own.id, play
        ours, self._word = os.pipe()
        lease_holder.detach(lambda: self._beat(ours), keep=[ours])
        os.close(ours)

    def begin(self, file: str) -> None:
        """Start the beats, or end the process if there is no lease file."""
        os.write(self._word, file.encode())
        os.close(self._word)

    def _beat(self, ours: int) -> None:
        Display().set_queue(t.cast(t.Any, Silence()))
        builder = Builder(self._connection, self._connection.become)
        file = os.read(ours, 1 << 16).decode()
        is_wanted = lease_holder.lives(self._play)
        last = time.monotonic()
        while file and is_wanted([]):
            time.sleep(lease_holder.PAUSE)
            if time.monotonic() - last > BEAT:
                last = time.monotonic()
                if self._tell(builder, file, "touch -c") == GONE:
                    return
        if file:
            self._tell(builder, file, "rm -f")

    def _tell(self, builder: Builder, file: str, command: str) -> int:
        """Run *command* on the lease file if the lease is still ours."""
        name = shlex.quote(file)
        try:
            return builder.run(f"grep -qs {self._id} {name} || exit {GONE}; {command} {name}")[0]
        except Exception:  # any failure of the connection: try again later
            return 0
