# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The version of galaxy.yml, the changelog, and since when each plugin is there agree."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Action plugins have the documentation of their modules.
DOCUMENTED = sorted(
    it
    for pattern in ("modules/*.py", "connection/*.py", "lookup/*.py", "filter/*.yml", "test/*.yml")
    for it in (ROOT / "plugins").glob(pattern)
)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def load(name: str) -> t.Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_newest_release_of_the_changelog_is_the_version_of_galaxy_yml() -> None:
    version = load("galaxy.yml")["version"]
    releases = load("changelogs/changelog.yaml")["releases"]
    assert max(releases, key=numbers) == version
    assert releases[version]["changes"]["release_summary"]
    titles = re.findall(r"^v(\S+)\n=+$", (ROOT / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert sorted(titles) == sorted(releases)
    assert titles[0] == version


def test_a_fragment_of_a_release_is_kept() -> None:
    """Or the release could not be written anew."""
    kept = {it.name for it in (ROOT / "changelogs/fragments").iterdir()}
    for release in load("changelogs/changelog.yaml")["releases"].values():
        assert set(release["fragments"]) <= kept


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.stem)
def test_a_plugin_says_with_which_release_it_came(path: pathlib.Path) -> None:
    found = re.search(r"^ *version_added: (\d+\.\d+\.\d+)$", path.read_text(), re.MULTILINE)
    assert found, "write version_added: VERSION below short_description"
    assert numbers(found[1]) <= numbers(load("galaxy.yml")["version"])
