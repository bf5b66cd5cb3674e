"""Commands against a running API (`--url`), for people who have a token and no database.

The token comes from TWINMETER_TOKEN (or TWINMETER_ADMIN_TOKEN), never from a flag: flags are seen by everybody on the
machine.
"""

from __future__ import annotations

import json
import os
from http.client import HTTPException
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

import typer

from api.cli.errors import CommandError, WrongUsageError
from api.cli.language import language

Url = Annotated[
    str | None,
    typer.Option("--url", help="Ask a running API, such as http://127.0.0.1:8080; the token is TWINMETER_TOKEN."),
]
TIMEOUT_S = 60


class Remote:
    """The API of one installation."""

    def __init__(self, url: str, site: str | None) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise WrongUsageError(f"--url {url!r}: write one such as http://127.0.0.1:8080")
        self._base = url.rstrip("/") + "/api/v1"
        self._token = os.environ.get("TWINMETER_TOKEN") or os.environ.get("TWINMETER_ADMIN_TOKEN", "")
        if not self._token:
            raise WrongUsageError("--url needs a token: set TWINMETER_TOKEN")
        self.site = site or self._only_site()

    def _only_site(self) -> str:
        sites = [item["id"] for item in self._call("GET", "/sites")["items"]]
        if len(sites) != 1:
            raise WrongUsageError(f"name a site with --site; known: {', '.join(sites) or 'none'}")
        return str(sites[0])

    def get(self, *path: str, **query: Any) -> Any:
        """Read something below the site."""
        return self._call("GET", self._below(path, query))

    def download(self, *path: str, **query: Any) -> bytes:
        """Read a file below the site."""
        return self._fetch("GET", self._below(path, query))

    def post(self, *path: str, body: dict[str, Any], key: str | None = None) -> Any:
        """Do something below the site; `key` makes it happen once."""
        return self._call("POST", self._below(path, {}), body, key)

    def put(self, *path: str, body: dict[str, Any], key: str | None = None) -> Any:
        """Make or change something below the site; `key` makes it happen once."""
        return self._call("PUT", self._below(path, {}), body, key)

    def delete(self, *path: str, key: str | None = None, **query: Any) -> Any:
        """End something below the site."""
        return self._call("DELETE", self._below(path, query), None, key)

    def _below(self, path: tuple[str, ...], query: dict[str, Any]) -> str:
        parts = "/".join(quote(part, safe="") for part in ("sites", self.site, *path))
        given = {name: value for name, value in query.items() if value is not None}
        return f"/{parts}?{urlencode(given)}" if given else f"/{parts}"

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> Any:
        return json.loads(self._fetch(method, path, body, key))

    def _fetch(self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> bytes:
        request = Request(  # noqa: S310 -- the scheme was checked
            self._base + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "Accept-Language": language(),
                **({"Idempotency-Key": key} if key is not None else {}),
            },
        )
        try:
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                data: bytes = answer.read()
                return data
        except HTTPError as error:
            raise CommandError(_told(error)) from None
        except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
            raise CommandError(f"{self._base} does not answer: {getattr(error, 'reason', error)}") from None


def _told(error: HTTPError) -> str:
    """What a refusal says, one problem a line."""
    try:
        problem = json.loads(error.read())
    except ValueError:
        return f"HTTP {error.code}: {error.reason}"
    lines = [f"{problem.get('code', error.code)}: {problem.get('detail', error.reason)}"]
    lines += [f"  {item.get('message', '')}" for item in problem.get("errors", ())]
    return "\n".join(lines)
