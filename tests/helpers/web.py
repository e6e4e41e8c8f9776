# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A web server on the loopback interface that breaks connections, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
import typing as t


class Site:
    """What is served: files by their path. The first answers end after as many bytes as *breaks* has for them."""

    def __init__(self, files: dict[str, bytes], *, ranges: bool = True) -> None:
        self.files, self.ranges = files, ranges
        self.breaks: list[int] = []
        self.status = 0
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    def url(self, path: str, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def serve(site: Site) -> t.Iterator[Site]:
    """Serve until the end of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            site.asked.append((self.path, asked))
            data = site.files.get(self.path.partition("?")[0])
            if data is None or site.status:
                self.send_error(site.status or 404)
                return
            match = re.fullmatch(r"bytes=(\d+)-", asked)
            start = int(match.group(1)) if match and site.ranges else 0
            if start and start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            rest = data[start:]
            if site.breaks:
                rest = rest[: site.breaks.pop(0)]
            with contextlib.suppress(ConnectionError):
                self.wfile.write(rest)

        def log_message(self, format: str, *args: t.Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join(30)
