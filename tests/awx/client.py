# Copyright (c) 2026, the watcher.config authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of AWX's API for tests: the stand-in and a real AWX are spoken to in the same words."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import time
import urllib.error
import urllib.request
from typing import Any

BOUND = 300.0  # seconds that a job has; a real AWX needs ten for the shortest
DONE = ("successful", "failed", "error", "canceled")


class Client:
    """One user's calls; what `make` made is removed by `clean`."""

    def __init__(self, url: str, token: str = "", *, user: str = "", password: str = "") -> None:
        """Call nothing yet."""
        self.url = url.rstrip("/")
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._authorization = f"Bearer {token}" if token else f"Basic {pair}" if user else ""
        self._suffix = secrets.token_hex(4)
        self._made: list[str] = []

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and answer; ``path`` is below ``/api/v2/`` or as the API names it."""
        url = self.url + (path if path.startswith("/") else f"/api/v2/{path}")
        request = urllib.request.Request(url, method=method)  # noqa: S310  # the tests' own address
        if self._authorization:
            request.add_header("Authorization", self._authorization)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # likewise
                return answer.status, _value(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _value(error.read())

    def get(self, path: str) -> Any:
        """Return what is there; AssertionError when it is not."""
        status, answer = self.call("GET", path)
        assert status == 200, (path, status, answer)
        return answer

    def name(self, text: str) -> str:
        """Return a name that nobody else has."""
        return f"{text} {self._suffix}"

    def make(self, segment: str, name: str, /, **fields: Any) -> dict[str, Any]:
        """Make an object whose name has a random suffix."""
        return self.add(segment, name=self.name(name), **fields)

    def add(self, segment: str, /, **fields: Any) -> dict[str, Any]:
        """Make an object."""
        status, answer = self.call("POST", f"{segment}/", fields)
        assert status == 201, (segment, fields, status, answer)
        self._made.append(answer["url"])
        made: dict[str, Any] = answer
        return made

    def clean(self) -> None:
        """Remove what was made, the newest first; what still runs is canceled before."""
        for url in reversed(self._made):
            with contextlib.suppress(urllib.error.URLError):
                if "/job_templates/" in url:
                    for job in self.get(f"{url}jobs/")["results"]:
                        self.call("POST", f"{job['url']}cancel/", {})
                        self.ended(job)
                self.call("DELETE", url)
        self._made.clear()

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job once it has ended."""
        deadline = time.monotonic() + BOUND
        while True:
            found = self.get(f"jobs/?id__in={job['id']}&page_size=1")["results"][0]
            if found["status"] in DONE:
                return dict(found)
            assert time.monotonic() < deadline, found
            time.sleep(0.05 if "127.0.0.1" in self.url else 1.0)


def _value(raw: bytes) -> Any:
    """Return JSON as a value, anything else as text."""
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw.decode(errors="replace")
