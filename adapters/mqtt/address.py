"""Where the broker is and who we are there, taken from one URL.

`mqtt://[user[:password]@]host[:port]` or `mqtts://...`; certificates are named in the query:
`mqtts://broker:8883?ca=/etc/twinmeter/ca.pem&cert=/etc/twinmeter/client.pem&key=/etc/twinmeter/client.key`.
The password never appears in a repr, a log or an error.
"""

from __future__ import annotations

import ssl
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_QUERY = ("ca", "cert", "key")


class BrokerAddress(msgspec.Struct, frozen=True):
    """A broker, the user and the certificates to use there. `ca`, `cert` and `key` are paths of PEM files."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    __repr__ = __str__

    @classmethod
    def parse(cls, url: str, *, username: str | None = None, password: str | None = None) -> BrokerAddress:
        """The address a URL names; `username` and `password` win over those in the URL.

        Raises ValueError that says what would be right; the URL's own password is not repeated in it.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise ValueError(f"broker URL starts with {parts.scheme + ':' if parts.scheme else 'no scheme'}; {_RIGHT}")
        if not parts.hostname:
            raise ValueError(f"broker URL names no host; {_RIGHT}")
        if parts.path not in ("", "/"):
            raise ValueError(f"broker URL has a path {parts.path!r} and none is known; {_RIGHT}")
        files = _certificate_files(parts.query, parts.scheme == "mqtts")
        return cls(
            host=parts.hostname,
            port=_port(parts.netloc, _PORTS[parts.scheme]),
            tls=parts.scheme == "mqtts",
            username=username or (unquote(parts.username) if parts.username else None),
            password=password or (unquote(parts.password) if parts.password else None),
            **files,
        )

    def tls_context(self) -> ssl.SSLContext | None:
        """The TLS settings, at least TLS 1.2 with the host name checked, or None for a plain connection.

        Raises ValueError naming the file when a certificate cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(f"{name}={getattr(self, name)}" for name in _QUERY if getattr(self, name))
            raise ValueError(f"cannot read the certificates of {self} ({files}): {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


_RIGHT = "write mqtt://[user:password@]host[:port] or mqtts://...?ca=FILE&cert=FILE&key=FILE"


def _port(netloc: str, default: int) -> int:
    text = netloc.rpartition("@")[2].rpartition("]")[2].rpartition(":")[2] if ":" in netloc.rpartition("@")[2] else ""
    if not text:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError(f"broker URL has the port {text!r}; a port is 1 to 65535; {_RIGHT}")
    return int(text)


def _certificate_files(query: str, tls: bool) -> dict[str, str]:
    files = dict(parse_qsl(query, keep_blank_values=True))
    for name in files:
        if name not in _QUERY:
            raise ValueError(f"broker URL has an unknown option {name!r}; known are {', '.join(_QUERY)}")
    if files and not tls:
        raise ValueError("broker URL names certificates but starts with mqtt:; write mqtts: to use them")
    if ("key" in files) and ("cert" not in files):
        raise ValueError("broker URL names a key but no certificate; add cert=FILE")
    return files
