# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for the device name and the kernel words of an encrypted root."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError


def encrypted_root(
    luks_uuid: str, generator: str, debug_console: bool = False
) -> t.Dict[str, t.Union[str, t.List[str]]]:
    """Return device and kernel words of a root whose initramfs *generator* builds, and words that may be overridden."""
    # Import here, because every task that uses a filter of the collection loads all of them.
    from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
    from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
        SealedRootError,
    )

    try:
        words = guest.words(generator, luks_uuid=luks_uuid, debug_console=debug_console)
    except SealedRootError as exc:
        raise AnsibleFilterError(str(exc)) from exc
    defaults = list(guest.DEFAULT_WORDS.get(generator, ()))
    return {"device": guest.device(generator, luks_uuid), "words": words, "defaults": defaults}


class FilterModule:
    """The filter of this file; its documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {"encrypted_root": encrypted_root}
