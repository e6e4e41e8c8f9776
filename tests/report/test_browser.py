# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of an image as a browser shows it: nothing runs, nothing is fetched, and everything can be read."""

from __future__ import annotations

import http.server
import json
import pathlib
import re
import subprocess
import threading
import typing as t

import html_page
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import report

MANIFEST = pathlib.Path(__file__).parents[1] / "unit/fixtures/manifest.json"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
# What does not fit is named in the title.
MEASURE = """<script>
const bad = [];
if (document.documentElement.scrollWidth > innerWidth) bad.push("wider than the window");
for (const svg of document.querySelectorAll("svg")) {
  const texts = [...svg.querySelectorAll("text")].map(it => it.getBBox());
  const boxes = [...svg.querySelectorAll("rect")].map(it => it.getBBox());
  if (!boxes.length) bad.push("a picture is empty");
  for (const it of svg.querySelectorAll("rect"))
    if (getComputedStyle(it).fill == "rgb(0, 0, 0)") bad.push("a part has no colour");
  texts.forEach((a, i) => {
    if (a.width < 5) bad.push("a text is empty");
    if (a.x + a.width > svg.viewBox.baseVal.width) bad.push("a text leaves its picture");
    for (const b of texts.slice(i + 1))
      if (a.x < b.x + b.width && b.x < a.x + a.width && a.y + 3 < b.y + b.height && b.y + 3 < a.y + a.height)
        bad.push("two texts overlap");
    for (const b of boxes)
      if (a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height &&
          (a.x < b.x || a.x + a.width > b.x + b.width)) bad.push("a text crosses an edge");
  });
}
document.title = bad.length ? bad.join("; ") : "fits";
</script></body>"""


class Browser:
    """A browser with a profile of its own; *asked* is what it asked a server of this test for."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.asked = folder, list[str]()
        asked = self.asked

        class Server(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: t.Any) -> None:
                super().__init__(*arguments, directory=str(folder))

            def log_request(self, *_: object) -> None:
                asked.append(self.path)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def show(self, text: str, *, width: int = 1200) -> tuple[str, str]:
        """Show a page; return it as the browser has it then, and the messages of its console."""
        (self.folder / "report.html").write_text(text)
        done = subprocess.run(
            [
                *(
                    "chromium",
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--enable-logging=stderr",
                ),
                *("--no-first-run", f"--user-data-dir={self.folder}/profile", "--lang=en"),
                *("--disable-dev-shm-usage", f"--window-size={width},2000", "--hide-scrollbars"),
                "--dump-dom",
                f"http://127.0.0.1:{self.server.server_port}/report.html",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, "\n".join(it for it in said if "favicon" not in it)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("browser"))
    yield made
    made.server.shutdown()


@pytest.fixture
def manifest() -> dict[str, t.Any]:
    read: dict[str, t.Any] = json.loads(MANIFEST.read_text())
    return read


def title(page: str) -> str:
    return page.split("<title>")[1].split("</title>")[0]


def test_nothing_runs_and_nothing_is_fetched(browser: Browser, manifest: dict[str, t.Any]) -> None:
    browser.asked.clear()
    text = report.page(html_page.spoilt(manifest))
    page, said = browser.show(text)
    assert said == ""
    assert title(page).startswith("web-1")
    assert "<script" not in page
    assert "<img" not in page
    assert {*browser.asked} <= {"/report.html", "/favicon.ico"}


def test_the_policy_of_the_page_stops_what_was_not_escaped(
    browser: Browser, manifest: dict[str, t.Any]
) -> None:
    """This also shows that the test before can fail."""
    more = "<script>document.title='taken'</script><img src=/beacon.png></body>"
    text = report.page(manifest).replace("</body>", more)
    browser.asked.clear()
    page, said = browser.show(text)
    assert title(page) == "web-1"
    assert "Content Security Policy" in said
    assert "/beacon.png" not in browser.asked
    page, _ = browser.show(POLICY.sub("", text))
    assert title(page) == "taken"
    assert "/beacon.png" in browser.asked


@pytest.mark.parametrize("width", [500, 1200])
@pytest.mark.parametrize("size", [2 << 30, 4 << 30, 1 << 40])
def test_everything_fits(
    browser: Browser, manifest: dict[str, t.Any], width: int, size: int
) -> None:
    manifest["luks_region"]["size"] = size - (101 << 20)
    manifest["packages"] = ["a-package-" + "x" * 300 + " 1.0 amd64"]
    manifest["left_out"] = ["/" + "very-long-name" * 40]
    text = POLICY.sub("", report.page(manifest)).replace("<details>", "<details open>")
    page, _ = browser.show(text.replace("</body>", MEASURE), width=width)
    assert title(page) == "fits"


def test_a_text_that_does_not_fit_is_found(browser: Browser, manifest: dict[str, t.Any]) -> None:
    manifest["audit"]["facts"]["luks_type"] = "luks" * 60
    text = POLICY.sub("", report.page(manifest)).replace("</body>", MEASURE)
    assert "a text crosses an edge" in title(browser.show(text)[0])
