# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The bill of materials of an image: CycloneDX 1.6, made from the list of the image's package manager. Pure.

Vulnerability databases identify a package by its package URL (ECMA-427).
"""

from __future__ import annotations

import typing as t
import urllib.parse
import uuid

from ansible_collections.sealedroot.image.plugins.module_utils._system import printable

# Distributions whose name in package URLs (OSV, the vendors) differs from their ID in os-release(5).
VENDORS = {
    "opensuse-leap": "opensuse",
    "opensuse-tumbleweed": "opensuse",
    "rhel": "redhat",
    "rocky": "rocky-linux",
    "sles": "suse",
}
# rpm lists its own keys as packages.
_NO_PACKAGES = ("gpg-pubkey",)


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe=":", errors="surrogateescape")


def package_url(
    kind: str, os_release: t.Mapping[str, str], name: str, version: str, architecture: str
) -> str:
    """Return the package URL of a distribution's package."""
    system = os_release.get("ID", "linux").lower()
    qualifiers = {"arch": architecture}
    if kind == "rpm" and ":" in version:
        qualifiers["epoch"], version = version.split(":", 1)
    if os_release.get("VERSION_ID"):
        qualifiers["distro"] = f"{system}-{os_release['VERSION_ID']}"
    vendor = VENDORS.get(system, system)
    words = "&".join(f"{key}={_quote(value)}" for key, value in sorted(qualifiers.items()) if value)
    url = f"pkg:{kind}/{_quote(vendor)}/{_quote(name)}@{_quote(version)}"
    return f"{url}?{words}" if words else url


def _component(kind: str, os_release: t.Mapping[str, str], line: str) -> t.Dict[str, str]:
    name, version, architecture = (*printable.text(line).split(), "", "")[:3]
    url = package_url(kind, os_release, name, version, architecture)
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}


def bill(
    kind: str,
    packages: t.Iterable[str],
    os_release: t.Mapping[str, str],
    *,
    image_uuid: str,
    timestamp: t.Optional[str] = None,
) -> t.Dict[str, t.Any]:
    """Return the bill of materials.

    Each of *packages* has a name, a version and, if the package manager lists it, an architecture. The serial number is
    derived from *image_uuid*, so it is unique to the image.
    """
    lines = [it for it in packages if it.split() and it.split()[0] not in _NO_PACKAGES]
    components = {it["bom-ref"]: it for it in (_component(kind, os_release, row) for row in lines)}
    system = {
        "type": "operating-system",
        "bom-ref": "system",
        "name": os_release.get("ID", "linux"),
        "version": os_release.get("VERSION_ID", ""),
        "description": os_release.get("PRETTY_NAME", ""),
    }
    system = {key: printable.text(value) for key, value in system.items()}
    metadata: t.Dict[str, t.Any] = {
        "component": {key: value for key, value in system.items() if value},
        "tools": {"components": [{"type": "application", "name": "sealedroot.image"}]},
    }
    if timestamp:
        metadata["timestamp"] = timestamp
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.UUID(image_uuid), 'bom.json')}",
        "version": 1,
        "metadata": metadata,
        "components": [components[url] for url in sorted(components)],
    }


__all__ = ("VENDORS", "bill", "package_url")
