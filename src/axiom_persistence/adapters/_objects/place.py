"""Where a store lies: which bucket, below which prefix, and how its server is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

from ...errors import ConfigurationError
from ...storage.adapter import Durability
from .._networked.address import ServerAddress

__all__ = ["Place"]

SCHEME: Final = "s3"
OPTIONS: Final = ("endpoint", "region", "plaintext", "path_style", "anonymous", "durability", "timeout")
LONGEST_S: Final = 1200
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_PREFIX: Final = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9!_.'()=-]+(/[A-Za-z0-9!_.'()=-]+)*")
_NO_PORT: Final = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A store's address, understood."""

    bucket: str
    prefix: str
    """Without slashes at its ends; empty: the whole bucket."""
    endpoint: str | None
    """Of a server that is not Amazon's own."""
    durability: Durability
    timeout: float
    """Seconds until a call that gets no answer is given up."""
    address: ServerAddress = field(repr=False)

    @classmethod
    def parse(cls, address: str) -> Self:
        """Raises ``ConfigurationError`` for an address that cannot be."""
        server = ServerAddress.parse(SCHEME, address, port=_NO_PORT, known=OPTIONS)
        (bucket, port), *others = server.hosts
        if others or port != _NO_PORT or not _BUCKET.fullmatch(bucket):
            raise ConfigurationError(
                "an address of s3 names one bucket: 3 to 63 letters, digits, '-', '_' and '.'",
                hint="write s3://bucket/prefix; the server's host stands in ?endpoint=https://host:port",
            )
        prefix = server.path.strip("/")
        if prefix and not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(
                "the prefix in an address of s3 has letters, digits and !_.'()=- between its slashes",
                adapter=f"{SCHEME}://{bucket}",
                hint="for example s3://bucket/notes",
            )
        shown = f"{SCHEME}://{bucket}/{prefix}"
        endpoint = _endpoint(server, shown)
        # What a server of somebody else's does with a reply's promise cannot be asked for.
        usual = Durability.POWER_LOSS if endpoint is None else Durability.PROCESS_EXIT
        asked = server.options.get("durability", usual)
        if asked not in (Durability.POWER_LOSS, Durability.PROCESS_EXIT):
            raise ConfigurationError(
                "the option durability is power_loss or process_exit",
                adapter=shown,
                hint="power_loss for a server that has written a save to its disks when it answers",
            )
        timeout = server.seconds("timeout", 30.0)
        if timeout > LONGEST_S:
            raise ConfigurationError(
                f"the option timeout is at most {LONGEST_S} seconds", adapter=shown, hint="for example 30"
            )
        for name in ("path_style", "anonymous"):
            server.flag(name, False)  # refused here, not at opening
        return cls(bucket, prefix, endpoint, Durability(asked), timeout, server)

    def __str__(self) -> str:
        return f"{SCHEME}://{self.bucket}/{self.prefix}" + (
            f"?endpoint={self.endpoint}" if self.endpoint else ""
        )

    @property
    def login(self) -> dict[str, Any]:
        """The arguments that reach it, the secret key included: for the one call that does."""
        address, options = self.address, self.address.options
        found: dict[str, Any] = {
            "virtual_hosted_style_request": not address.flag("path_style", self.endpoint is not None),
            "conditional_put": "etag",
        }
        if self.endpoint is not None:
            found["endpoint"] = self.endpoint
        if "region" in options or self.endpoint is not None:
            found["region"] = options.get("region", "us-east-1")
        if address.user is not None:
            found["access_key_id"] = address.user
        if address.password is not None:
            found["secret_access_key"] = address.password.reveal()
        if address.flag("anonymous", False):
            found["skip_signature"] = True
        return found


def _endpoint(server: ServerAddress, shown: str) -> str | None:
    text = server.options.get("endpoint")
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or "@" in parts.netloc
        or (parts.path.strip("/") or parts.query or parts.fragment)
    ):
        raise ConfigurationError(
            "the option endpoint is https://host:port, without user, path and query",
            adapter=shown,
            hint="user and secret key stand before the bucket, with an '@' behind them",
        )
    local = ServerAddress("", ((host, 0),), "").is_local
    if parts.scheme == "http" and not local and not server.flag("plaintext", False):
        raise ConfigurationError(
            "the endpoint is not reached by https, and what is saved would cross the network in plain text",
            adapter=shown,
            hint="write https://, or add plaintext=true for a network you trust",
        )
    return f"{parts.scheme}://{parts.netloc}"
