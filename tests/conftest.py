# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the checkout importable as the collection ansible_collections.sealedroot.image."""

from __future__ import annotations

import atexit
import importlib
import json
import pathlib
import shutil
import sys
import tempfile
import typing as t

import pytest

if t.TYPE_CHECKING:
    from builds import Place

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Modules that several directories of tests share.
sys.path.insert(0, str(ROOT / "tests" / "helpers"))


def _install_collection_loader() -> None:
    """Let Ansible's own loader find this checkout, wherever it lies."""
    from ansible.utils.collection_loader import AnsibleCollectionConfig
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

    if AnsibleCollectionConfig.collection_finder is not None:
        return  # ansible-test installed its own
    # A directory of our own with one symlink: the loader wants <path>/ansible_collections/<ns>/<name>.
    tree = pathlib.Path(tempfile.mkdtemp(prefix="sealedroot-tests-"))
    atexit.register(shutil.rmtree, tree)
    namespace = tree / "ansible_collections" / "sealedroot"
    namespace.mkdir(parents=True)
    (namespace / "image").symlink_to(ROOT)
    _AnsibleCollectionFinder(paths=[str(tree)])._install()


_install_collection_loader()


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark of what is no part of ``./run test``."""
    config.addinivalue_line("markers", "long: shows more of what a quicker case shows; ./run long")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes after their argument: those of an archive have a time in them, which is another in each worker."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Place]:
    """A place to build in, which is checked to be clean at the end of the test."""
    from builds import fresh_place

    with fresh_place(tmp_path_factory) as place:
        yield place


@pytest.fixture
def real_module(capsys: pytest.CaptureFixture[str]) -> t.Callable[..., dict[str, t.Any]]:
    """Run a module's main() for real and return what it printed (``failed`` and ``msg`` included)."""

    from ansible.module_utils.testing import patch_module_args

    def run(name: str, /, _check: bool = False, **args: t.Any) -> dict[str, t.Any]:
        module = importlib.import_module(
            f"ansible_collections.sealedroot.image.plugins.modules.{name}"
        )
        capsys.readouterr()
        args = {**args, "_ansible_check_mode": _check, "_ansible_diff": True}
        with patch_module_args(args), pytest.raises(SystemExit):
            module.main()
        printed: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        # Not at the top: the collection has to be found first.
        import documented_results

        documented_results.check(name, printed, args)
        return printed

    return run
