# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that decide what a build does: whether it can begin, which boots prove it, and what is published."""

from __future__ import annotations

import typing as t

Values = t.Mapping[str, t.Any]

# Imports are inside the functions, because every task that uses a filter of the collection loads all of them.


def input_problems(given: Values, around: Values) -> t.List[str]:
    """Return a sentence for each problem of the inputs."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.utils.vars import load_extra_vars
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _input_problems, _inputs

    facts = _inputs.facts()
    # An earlier build of this run has left its facts, which this one replaces; the first that it leaves is this.
    given_facts = set() if "image_builder_info" in around["names"] else facts & {*around["names"]}
    return _input_problems.problems(
        given,
        _input_problems.Around(
            options=_inputs.options(),
            of_tasks=_inputs.of_tasks(),
            replaced=given_facts | (facts & set(load_extra_vars(DataLoader()))),
            **around,
        ),
    )


def root_plan(
    root: Values, given: Values, families: t.Sequence[Values], installs: bool = False
) -> t.Dict[str, t.Any]:
    """Return why a root cannot become the image, and what the build will do for it."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _root_plan

    return _root_plan.plan(_root_plan.Wish(root, given, families, installs))


def rotation_plan(root: Values, keep_slots: t.Sequence[int], name: str) -> t.Dict[str, t.Any]:
    """Return why the keys of a machine cannot be exchanged, and where the new one is meanwhile."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _rotation_plan

    return _rotation_plan.plan(root, keep_slots, name)


def rotation_problems(
    keep_slots: t.Sequence[int],
    passphrase: str = "",
    misspelled: str = "",
    secret: str = "",
    sharing: t.Sequence[str] = (),
) -> t.List[str]:
    """Return a sentence for each problem of a rotation's inputs."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _input_problems

    return _input_problems.rotation_problems(keep_slots, passphrase, misspelled, secret, sharing)


def recorded_inputs(given: Values) -> t.Dict[str, t.Any]:
    """Return what the manifest has of the inputs."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _recorded_inputs

    return _recorded_inputs.recorded(given)


def output_plan(published: Values, inputs: Values, **asked: t.Any) -> t.Dict[str, t.Any]:
    """Return whether the image already exists, and otherwise why it cannot be built."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _output_plan

    return _output_plan.plan(_output_plan.Output(published, inputs, **asked))


def verification(given: Values, **asked: t.Any) -> t.Dict[str, t.Any]:
    """Return which image is to be proved, and what is expected of it."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs, _verification

    return _verification.plan(given, _inputs.options(), _verification.Asked(**asked))


def measurable(manifest: str, directory: str) -> t.Dict[str, t.Any]:
    """Return why a manifest is none, and the disk of which a TPM compares something."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _verification

    return _verification.measurable(manifest, directory)


def boot_cases(keys: Values, ways: t.Sequence[str], launched: bool) -> t.List[t.Dict[str, str]]:
    """Return the boots that an image has to pass."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _boot_cases

    return _boot_cases.cases(keys, ways, launched)


def sent_files(
    disks: Values, digests: Values, keys: Values, launch: Values
) -> t.List[t.Dict[str, t.Any]]:
    """Return the files that a remote builder sends."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _sent_files

    return _sent_files.sent(disks, digests, keys, launch)


class FilterModule:
    """The filters of this file; their documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {
            "boot_cases": boot_cases,
            "input_problems": input_problems,
            "measurable": measurable,
            "output_plan": output_plan,
            "recorded_inputs": recorded_inputs,
            "root_plan": root_plan,
            "rotation_plan": rotation_plan,
            "rotation_problems": rotation_problems,
            "sent_files": sent_files,
            "verification": verification,
        }
