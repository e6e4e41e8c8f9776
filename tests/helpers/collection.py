# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets Ansible's loader find this checkout when it is imported, as it does for the tests.

For programs, which have no conftest.py. It is imported before what imports the collection.
"""

from __future__ import annotations

import importlib.util
import pathlib

_SPEC = importlib.util.spec_from_file_location(
    "collection_of_tests", pathlib.Path(__file__).resolve().parents[1] / "conftest.py"
)
assert _SPEC
assert _SPEC.loader
_SPEC.loader.exec_module(importlib.util.module_from_spec(_SPEC))
