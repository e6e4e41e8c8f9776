# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The control node's side of every module that runs in an image; meta/runtime.yml names them."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.sealedroot.image.plugins.plugin_utils import (
    _answers,
    _documented,
    _secret_arguments,
)


class ActionModule(ActionBase):
    """Run the task's module with its secrets on standard input, and keep only the documented part of its result."""

    _supports_check_mode = True
    # The result of an async task would come through another module.
    _supports_async = False

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> t.Dict[str, t.Any]:
        """Run the module on the task's host."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        module = self._task.action.rpartition(".")[2]
        try:
            with _secret_arguments.piped(self):
                answer = self._execute_module(task_vars=task_vars)
            result.update(_documented.kept(module, answer, self._task.args))
        except (_documented.UnfitError, RecursionError) as exc:
            result.update(
                failed=True,
                msg=(
                    f"The module {module} did not answer as it does ({_answers.short(str(exc))}), so something in the"
                    " root or the machine answered for it. Nothing of it was used: look at where the root is from."
                ),
            )
        self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _parse_returned_data(self, res: t.Dict[str, t.Any], *more: t.Any) -> t.Any:
        """Parse the output only after keys that core obeys are removed."""
        return super()._parse_returned_data(_answers.without_orders(res), *more)
