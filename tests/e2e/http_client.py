"""A client of the HTTP API as an outside script would write it: the standard library alone."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

ANSWERS_WITHIN_S = 60.0
"""So long a machine that does other things may take for one answer; nobody waits for it in the good case."""


class Client:
    """Calls the API with one bearer token."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON body of one call. Raises OSError where the server went away, at any point of its answer."""
        request = urllib.request.Request(f"{self.url}/api/v1{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        for header, value in headers.items():
            request.add_header(header.replace("_", "-"), value)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            return _answer(request, data)
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error

    def get(self, path: str) -> Any:
        """Body of a GET that succeeds."""
        status, body = self.call("GET", path)
        assert status == 200, (status, body)
        return body

    def wait(self, path: str, holds: Callable[[Any], bool], within_s: float = 60.0) -> Any:
        """Poll a resource until something holds of it; fails with the last body."""
        deadline = time.monotonic() + within_s
        while True:
            body = self.get(path)
            if holds(body):
                return body
            assert time.monotonic() < deadline, body
            time.sleep(0.2)


def _answer(request: urllib.request.Request, data: bytes | None) -> tuple[int, Any]:
    """Status and body, also of a refusal, whose body may break off as well."""
    try:
        with urllib.request.urlopen(request, data=data, timeout=ANSWERS_WITHIN_S) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
