# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a page of HTML strictly: every element is closed, and nothing is loaded, run or linked."""

from __future__ import annotations

import html.parser
import typing as t

VOID = {"meta"}
# What a report consists of. None of these runs a program.
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "section",
        "h1",
        "h2",
        "p",
        "small",
        "strong",
    ),
    *(
        "table",
        "tr",
        "th",
        "td",
        "span",
        "pre",
        "code",
        "details",
        "summary",
        "svg",
        "rect",
        "text",
    ),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "scope", "class", "viewbox", "role"),
    *("aria-label", "x", "y", "width", "height", "stroke"),
}
HOSTILE = "</pre></td>\"'><script>document.title='taken'</script><img src=x onerror=alert(1)>&lt;\u202e\x1b[2J\udc80"


class Page(html.parser.HTMLParser):
    """A page that was read; *problems* says what is wrong with it, *words* is the text that it shows."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.elements: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{it}> is not closed" for it in self._open]
        if not text.startswith("<!DOCTYPE html>"):
            self.problems.append("it does not begin as HTML 5")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in ELEMENTS:
            self.problems.append(f"<{tag}> is no part of a report")
        self.problems += [f"<{tag} {name}>" for name, _ in attrs if name not in ATTRIBUTES]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes another element")

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "style":
            self.problems += [f"the style has {it}" for it in ("url(", "@import") if it in data]
        else:
            self.words += data
            self.problems += [
                f"{it!a} is shown" for it in data if not (it.isprintable() or it == "\n")
            ]


def spoilt(value: t.Any) -> t.Any:
    """Return a manifest with a hostile end of every string in it."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, dict):
        return {key: spoilt(it) for key, it in value.items()} | {HOSTILE: HOSTILE}
    if isinstance(value, list):
        return [spoilt(it) for it in value]
    return value
