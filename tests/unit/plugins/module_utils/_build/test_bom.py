# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bill of materials, held against the official schema and the reference reader of package URLs."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import bom
from packageurl import PackageURL

UUID = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
DEBIAN = {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}
FEDORA = {"ID": "fedora", "VERSION_ID": "42"}
ARCH = {"ID": "arch"}
# Everything that has to be escaped, and what has not.
LINES = {
    "deb": ["g++ 4:12.2.0-3 amd64", "libc6 2.36-9+deb12u10 amd64", "libc6 2.36-9+deb12u10 i386"],
    "rpm": ["NetworkManager 1:1.52.0-1.fc42 x86_64", "tzdata 2025b-1~rc1^1.fc42 noarch"],
    "alpm": ["linux 6.15.2.arch1-1", "grub 2:2.12.r292.g73d1c959-1"],
}
SYSTEMS = {"deb": DEBIAN, "rpm": FEDORA, "alpm": ARCH}


def bill(kind: str, **more: t.Any) -> dict[str, t.Any]:
    return bom.bill(kind, LINES[kind], SYSTEMS[kind], image_uuid=UUID, **more)


def invalid(document: dict[str, t.Any]) -> object:
    # They take seconds to load, which only the process that runs these tests has to spend.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("timestamp", [None, "2026-01-01T00:00:00Z"])
def test_it_is_valid(kind: str, timestamp: str | None) -> None:
    document = bill(kind, timestamp=timestamp)
    assert invalid(document) is None
    assert document["metadata"].get("timestamp") == timestamp
    assert len(document["components"]) == len(LINES[kind])


def test_the_validator_finds_faults() -> None:
    document = bill("deb")
    document["components"][0]["type"] = "package"
    assert invalid(document) is not None


@pytest.mark.parametrize("kind", LINES)
def test_package_urls_are_what_others_write(kind: str) -> None:
    for component in bill(kind)["components"]:
        read = PackageURL.from_string(component["purl"])
        assert (read.type, read.name) == (kind, component["name"])
        assert read.to_string() == component["purl"]
        assert component["version"] in (
            read.version,
            f"{read.qualifiers.get('epoch')}:{read.version}",
        )


@pytest.mark.parametrize(
    ("kind", "os_release", "package", "url"),
    [
        ("deb", DEBIAN, ("g++", "4:12.2.0-3", "amd64"),
         "pkg:deb/debian/g%2B%2B@4:12.2.0-3?arch=amd64&distro=debian-12"),
        ("rpm", {"ID": "rhel", "VERSION_ID": "9.4"}, ("openssl", "1:3.0.7-27.el9", "x86_64"),
         "pkg:rpm/redhat/openssl@3.0.7-27.el9?arch=x86_64&distro=rhel-9.4&epoch=1"),
        ("rpm", {"ID": "opensuse-leap", "VERSION_ID": "15.6"}, ("zlib", "1.2.13-1", "noarch"),
         "pkg:rpm/opensuse/zlib@1.2.13-1?arch=noarch&distro=opensuse-leap-15.6"),
        ("rpm", {"ID": "rocky"}, ("zlib", "1.2.13-1", ""), "pkg:rpm/rocky-linux/zlib@1.2.13-1"),
        ("alpm", ARCH, ("linux", "6.15.2.arch1-1", ""), "pkg:alpm/arch/linux@6.15.2.arch1-1"),
    ],
)  # fmt: skip
def test_package_urls(
    kind: str, os_release: dict[str, str], package: tuple[str, str, str], url: str
) -> None:
    assert bom.package_url(kind, os_release, *package) == url


def test_the_distribution_is_what_they_make_up() -> None:
    component = bill("deb")["metadata"]["component"]
    assert (component["type"], component["name"], component["version"]) == (
        *("operating-system", "debian", "12"),
    )
    # A rolling one has no version.
    assert "version" not in bill("alpm")["metadata"]["component"]


def test_keys_of_rpm_are_no_packages() -> None:
    lines = ["gpg-pubkey 105ef944-65ca83d1 (none)", "bash 5.2.37-1.fc42 x86_64", ""]
    document = bom.bill("rpm", lines, FEDORA, image_uuid=UUID)
    assert [it["name"] for it in document["components"]] == ["bash"]


def test_it_is_the_images_own_and_the_same_every_time() -> None:
    other = bom.bill("deb", LINES["deb"], DEBIAN, image_uuid=UUID.replace("1b", "2b"))
    assert bill("deb") == bill("deb")
    assert bom.bill("deb", LINES["deb"][::-1], DEBIAN, image_uuid=UUID) == bill("deb")
    assert other["serialNumber"] != bill("deb")["serialNumber"]


def test_what_is_listed_twice_is_one() -> None:
    document = bom.bill("deb", LINES["deb"] * 2, DEBIAN, image_uuid=UUID)
    assert invalid(document) is None
    assert len(document["components"]) == 3
