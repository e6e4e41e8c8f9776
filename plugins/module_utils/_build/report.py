# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The report of an image: one page of HTML that loads nothing, made of its manifest alone. Pure.

A manifest has strings of a foreign root. All of them pass through :func:`_text`.
"""

from __future__ import annotations

import html
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build.image_files import (
    MANIFEST,
    REPORT,
)
from ansible_collections.sealedroot.image.plugins.module_utils._build.report_words import (
    CHECKS,
    STAGES,
    STYLE,
)
from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.module_utils._disk.partitions import MIB
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    printable,
)

# Bars of a picture are this wide and high, in its own units; no part of the disk is narrower than MIN_WIDTH.
WIDTH, HEIGHT, MIN_WIDTH = 960, 88, 150
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _text(value: t.Any) -> str:
    """Return a foreign value as text of HTML, without a character that changes what is shown."""
    return html.escape(printable.text(str(value)))


def _at(value: t.Any, *path: str) -> t.Any:
    """Return what a manifest has at *path*, or an empty dictionary."""
    for name in path:
        value = value.get(name, {}) if isinstance(value, t.Mapping) else {}
    return value


def _fields(manifest: t.Mapping[str, t.Any], *path: str) -> t.Dict[str, t.Any]:
    """Return the fields that a manifest has at *path*."""
    value = _at(manifest, *path)
    return dict(value) if isinstance(value, t.Mapping) else {}


def _entries(value: t.Any) -> t.List[t.Mapping[str, t.Any]]:
    """Return those entries of a list that have fields."""
    return [it for it in value if isinstance(it, t.Mapping)] if isinstance(value, list) else []


def _section(title: str, *parts: str) -> str:
    """Return a section, or nothing if it would be empty."""
    body = "\n".join(it for it in parts if it)
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>" if body else ""


def _table(head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    lines = ["<tr>" + "".join(f"<td>{it}</td>" for it in row) + "</tr>" for row in rows]
    if not lines:
        return ""
    names = "".join(f'<th scope="col">{it}</th>' for it in head)
    return "\n".join(("<table>", f"<tr>{names}</tr>", *lines, "</table>"))


def _verdict(value: t.Any) -> str:
    return f'<span class="{"ok" if value == "ok" else "failed"}">{_text(value)}</span>'


def size_text(size: int) -> str:
    """Return a size in the largest unit that keeps it readable."""
    for unit, name in ((1 << 30, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f}".rstrip("0").rstrip(".") + f" {name}"
    return f"{size} bytes"


def widths(sizes: t.Sequence[int]) -> t.List[float]:
    """Return how wide each part is drawn: to scale, but none narrower than MIN_WIDTH."""
    small = [size * WIDTH < MIN_WIDTH * sum(sizes) for size in sizes]
    rest = sum(size for size, is_small in zip(sizes, small) if not is_small)
    room = WIDTH - MIN_WIDTH * sum(small)
    pairs = zip(sizes, small)
    return [float(MIN_WIDTH) if is_small else size * room / rest for size, is_small in pairs]


def _disk(manifest: t.Mapping[str, t.Any]) -> str:
    """Draw the disk."""
    region = _at(manifest, "luks_region")
    begin, size = _at(region, "offset"), _at(region, "size")
    if not isinstance(begin, int) or not isinstance(size, int) or size <= 0:
        return ""
    facts = _at(manifest, "audit", "facts")
    kind = _text(_at(facts, "luks_type") or "LUKS")
    parts = (
        ("Partition table", layout.ESP_OFFSET, "clear", "GPT"),
        ("EFI system partition", begin - layout.ESP_OFFSET, "clear", "GRUB, no key"),
        (f"{kind}: everything else", size, "sealed", _text(_at(facts, "filesystem") or "root")),
        ("Backup", MIB, "clear", "GPT"),
    )
    drawn, left = [], 0.0
    for (name, length, style, what), width in zip(parts, widths([it[1] for it in parts])):
        drawn.append(
            f'<rect class="{style}" x="{left:.1f}" y="0" width="{width:.1f}" height="{HEIGHT}" stroke="currentColor"/>'
        )
        drawn += [
            f'<text x="{left + 6:.1f}" y="{22 + 22 * row}">{it}</text>'
            for row, it in enumerate((name, size_text(length), what))
        ]
        left += width
    total = size_text(begin + size + MIB)
    slots = ", ".join(
        f"slot {_text(slot)}: {_text(count)} iterations"
        for slot, count in sorted(_fields(facts, "slots").items())
    )
    return "\n".join(
        (
            f'<svg viewBox="-1 -1 {WIDTH + 2} {HEIGHT + 2}" role="img" aria-label="The disk, {total}">',
            *drawn,
            "</svg>",
            f"<p>The disk has {total}. Parts that would be too narrow to read are drawn wider. Readable without a key"
            " are the partition tables, the boot loader and the LUKS header; /boot with its kernels, and all files,"
            " are inside LUKS.</p>",
            f"<p>Keys of the LUKS header: {slots}.</p>" if slots else "",
        )
    )


def _timeline(manifest: t.Mapping[str, t.Any]) -> str:
    """Draw how long each stage took."""
    took = {
        name: seconds
        for name, seconds in _fields(manifest, "took").items()
        if isinstance(seconds, int) and seconds >= 0
    }
    order = [it for it in STAGES if it in took] + sorted(set(took) - set(STAGES))
    total, gone, drawn = sum(took.values()), 0, []
    # The names and the seconds stand left of the bars.
    before, row = 180, 26
    scale = (WIDTH - before) / max(total, 1)
    for number, name in enumerate(order):
        seconds, top = took[name], number * row
        drawn += [
            f'<text x="0" y="{top + 17}">{_text(name)}</text>',
            f'<text class="soft" x="{before - 60}" y="{top + 17}">{seconds} s</text>',
            f'<rect class="sealed" x="{before + gone * scale:.1f}" y="{top + 4}"'
            f' width="{max(seconds * scale, 2):.1f}" height="{row - 8}"/>',
        ]
        gone += seconds
    if not drawn:
        return ""
    meanings = _table(
        ("stage", "what happens until it is reached"),
        ((_text(name), STAGES.get(name, "")) for name in order),
    )
    return "\n".join(
        (
            f'<svg viewBox="0 0 {WIDTH + 2} {len(order) * row}" role="img" aria-label="The stages, {total} seconds">',
            *drawn,
            "</svg>",
            meanings,
        )
    )


def _checks(manifest: t.Mapping[str, t.Any]) -> str:
    rows = [
        (
            _text(_at(it, "name")),
            _verdict(_at(it, "verdict")),
            CHECKS.get(str(_at(it, "name")), ""),
            _text(_at(it, "detail")),
        )
        for it in _entries(_at(manifest, "audit", "checks"))
    ]
    return _table(("check", "verdict", "what it proves", "what was seen"), rows)


def _boots(manifest: t.Mapping[str, t.Any]) -> str:
    fields = ("name", "expect", "detail")
    rows = [
        (_verdict(_at(it, "verdict")), *(_text(_at(it, name) or "") for name in fields))
        for it in _entries(_at(manifest, "boot_test", "cases"))
    ]
    if not rows:
        return "<p>The image was not booted: <code>image_boot_test</code> was false.</p>"
    return _table(("verdict", "key", "had to end as", "what was seen"), rows)


def _first_format(manifest: t.Mapping[str, t.Any]) -> str:
    """Return the format that was examined and booted, if it is one of ours."""
    formats = _at(manifest, "inputs", "formats")
    return next((it for it in FORMATS if isinstance(formats, list) and formats[:1] == [it]), "")


def boot_command(manifest: t.Mapping[str, t.Any]) -> t.List[str]:
    """Return the command that boots the disk in QEMU; nothing if the manifest does not say what it is."""
    known = architectures.ARCHITECTURES.get(str(_at(manifest, "inputs", "architecture")))
    first = _first_format(manifest)
    if known is None or not first:
        return []
    names = known.words()
    flash = ["-drive", f"if=pflash,format=raw,readonly=on,file={names['firmware']}"]
    if _at(manifest, "inputs", "secure_boot") is True:
        flash = ["-drive", f"if=pflash,format=raw,readonly=on,file={names['secure_boot_firmware']}"]
        flash += [
            "-drive",
            f"if=pflash,format=raw,snapshot=on,file={names['secure_boot_variables']}",
        ]
        flash += names["secure_boot_options"].split()
    start = [names["qemu"], "-machine", names["qemu_machine"], "-cpu", "max", "-m", "1024"]
    drive = f"file=disk.{first},format={FORMATS[first].driver},if=virtio"
    return [*start, "-nographic", *flash, "-drive", drive, "-snapshot"]


def _needs_secret(manifest: t.Mapping[str, t.Any]) -> bool:
    """Say whether GRUB asks nobody for the key."""
    ways = _at(manifest, "inputs", "unlock")
    return isinstance(ways, list) and "launch_secret" in ways and "prompt" not in ways


def _how_to_boot(manifest: t.Mapping[str, t.Any]) -> str:
    if _needs_secret(manifest):
        return (
            "<p>A confidential guest is started from <code>launch/firmware.fd</code> and <code>launch/core.efi</code>."
            " Its owner gives the key when the measurement is one of those that <code>manifest.json</code> has under"
            " <code>launch</code>."
            " GRUB asks nobody. docs/deploy.md of the collection has the commands.</p>"
        )
    command = boot_command(manifest)
    if not command:
        return ""
    return (
        f"<pre>{_text(' '.join(command))}</pre>\n"
        "<p>In the directory of this page. GRUB asks once for the content of <code>boot.key</code>; the initramfs does"
        " not ask again. <code>-snapshot</code> leaves the file as it is. Give the disk to others without the keys.</p>"
    )


def _how_to_verify(manifest: t.Mapping[str, t.Any], files: t.Mapping[str, t.Any]) -> str:
    # Only names that mean nothing to a shell and fill no second line.
    sums = [
        f"{_at(it, 'sha256')}  {name}"
        for name, it in files.items()
        if "sha256" in it and _PLAIN.fullmatch(name)
    ]
    first = _first_format(manifest)
    if not sums or not first:
        return ""
    given = [f"audit_image: $PWD/disk.{first}", "audit_keys: {boot: $PWD/boot.key}"]
    machine = str(_at(manifest, "inputs", "architecture"))
    if machine in architectures.ARCHITECTURES and machine != architectures.X86_64.machine:
        given.append(f"image_architecture: {machine}")
    given += [
        f"image_{name}: true"
        for name in ("secure_boot", "debug_console")
        if _at(manifest, "inputs", name) is True
    ]
    agents = _at(manifest, "inputs", "host_agents")
    if isinstance(agents, list) and agents and all(_PLAIN.fullmatch(str(it)) for it in agents):
        given.append(f"image_host_agents: [{', '.join(map(str, agents))}]")
    command = f'ansible-playbook sealedroot.image.verify_image -e "{{{", ".join(given)}}}"'
    return (
        "<p>The files are the ones that were proved if <code>sha256sum --check</code> accepts these lines:</p>\n"
        f"<pre>{_text(chr(10).join(sums))}</pre>\n"
        "<p>This repeats the checks and the boot on any machine with the collection, for whoever has the key:</p>\n"
        f"<pre>{_text(command)}</pre>"
    )


def _files(files: t.Mapping[str, t.Any]) -> str:
    rows = (
        (
            _text(name),
            _said_of(it),
            "" if "slot" in it or not isinstance(_at(it, "size"), int) else size_text(it["size"]),
        )
        for name, it in files.items()
    )
    return _table(("file", "SHA-256, or the slot of a key", "size"), rows)


def _said_of(entry: t.Mapping[str, t.Any]) -> str:
    if "slot" in entry:
        return f"opens key slot {_text(entry['slot'])}"
    if "holds" in entry:
        return f"holds {_text(entry['holds'])}"
    return _text(_at(entry, "sha256"))


def _list(value: t.Any, summary: str) -> str:
    """Return a list that opens at a click."""
    if not isinstance(value, list) or not value:
        return ""
    lines = "\n".join(_text(it) for it in value)
    return f"<details><summary>{len(value)} {summary}</summary>\n<pre>{lines}</pre></details>"


def page(manifest: t.Mapping[str, t.Any]) -> str:
    """Return the report of an image; the manifest's entry about the report itself does not matter."""
    entries = _fields(manifest, "files").items()
    files = {name: it for name, it in entries if name != REPORT and isinstance(it, t.Mapping)}
    name = _text(_at(manifest, "name") or "An image")
    checks = _entries(_at(manifest, "audit", "checks"))
    cases = _entries(_at(manifest, "boot_test", "cases"))
    failed = [it for it in (*checks, *cases) if _at(it, "verdict") != "ok"]
    verdict = (
        f"{len(failed)} of {len(checks) + len(cases)} proofs failed."
        if failed
        else (f"All of {len(checks) + len(cases)} proofs passed.")
    )
    system = _text(_at(manifest, "root_tar", "os_release", "PRETTY_NAME") or "Linux")
    inputs = _fields(manifest, "inputs").items()
    builder = _fields(manifest, "builder", "tools").items()
    parts = (
        _section("The disk", _disk(manifest)),
        _section("How to boot it", _how_to_boot(manifest)),
        _section("How to verify it", _how_to_verify(manifest, files)),
        _section("Checks of the closed disk", _checks(manifest)),
        _section("Boots", _boots(manifest)) if "boot_test" in manifest else "",
        _section("How long it took", _timeline(manifest)),
        _section("Files", _files(files)),
        _section(
            "Made from", _table(("input", "value"), ((_text(a), _text(b)) for a, b in inputs))
        ),
        _section(
            "In the image",
            _list(_at(manifest, "packages"), "packages are installed"),
            _list(_at(manifest, "left_out"), "things of the source were left out"),
        ),
        _section(
            "Made with", _table(("tool", "version"), ((_text(a), _text(b)) for a, b in builder))
        ),
    )
    created = _at(manifest, "created")
    made = f", made at {_text(created)}" if created else ""
    head = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        # Nothing may be loaded and nothing may run, even if a string were not escaped.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        f"<title>{name}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{name}</h1>",
        f"<p>An encrypted image of {system}{made}. <strong>{verdict}</strong></p>",
        f"<p><small>Made of {MANIFEST} alone. No key is on this page, and nothing that would help to guess one."
        "</small></p>",
    )
    return "\n".join((*head, *(it for it in parts if it), "</body>", "</html>", ""))


__all__ = ("boot_command", "page", "size_text", "widths")
