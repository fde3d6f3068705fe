"""Where a store lies: which server, how it is reached, and the names of what is kept there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final, Self

from ...errors import ConfigurationError
from ...storage.adapter import Durability
from .._networked.address import Credential, ServerAddress
from .._networked.tls import TLS_OPTIONS, tls_context

__all__ = ["Place"]

OPTIONS: Final = ("store", "durability", "timeout", "replicas", "sentinel", *TLS_OPTIONS)
LONGEST_S: Final = 1200
"""Of a timeout. A second copy of a commit must find the note of the first, and notes cost memory."""
_MOST_NAME: Final = 50
"""Bytes of a store's name: it is part of every key."""
_MOST_REPLICAS: Final = 99


@dataclass(frozen=True, slots=True)
class Place:
    """A store's address, understood."""

    address: ServerAddress
    database: int
    store: str
    durability: Durability
    is_named: bool
    """Whether the address names the durability: it is believed where a server does not tell its settings."""
    timeout: float
    """Seconds until a call that gets no answer is given up."""
    replicas: int
    """How many must have a commit before it is acknowledged."""
    sentinel: str | None
    """The name under which the hosts, which are sentinels, know the primary."""
    tls: ssl.SSLContext | None = field(repr=False)
    may_be_plain: bool
    """Whether the address allows plain text beyond this machine."""

    @classmethod
    def parse(cls, address: str) -> Self:
        """Raises ``ConfigurationError`` for an address that cannot be."""
        scheme = "rediss" if address.startswith("rediss:") else "redis"
        server = ServerAddress.parse(scheme, address, port=6379, known=OPTIONS)
        options = server.options
        if scheme == "redis" and "sslmode" not in options and not server.is_local:
            raise ConfigurationError(
                "what is saved would cross the network in plain text",
                adapter=server,
                hint="write rediss:// for TLS, or sslmode=disable for a network you trust",
            )
        store = options.get("store", "axiom")
        if not store or set(store) & set("{}\0") or len(store.encode()) > _MOST_NAME:
            raise ConfigurationError(
                "a store's name has 1 to 50 bytes and no brace",
                adapter=server,
                hint="for example store=notes",
            )
        timeout = server.seconds("timeout", 30.0)
        if timeout > LONGEST_S:
            raise ConfigurationError(
                f"the option timeout is at most {LONGEST_S} seconds: so long are commits remembered",
                adapter=server,
                hint="for example 30",
            )
        return cls(
            server,
            _number(server, "the path of the address, a database's number,", server.path or "0", 1 << 16),
            store,
            _durability(server),
            "durability" in options,
            timeout,
            _number(server, "the option replicas", options.get("replicas", "0"), _MOST_REPLICAS),
            options.get("sentinel"),
            tls_context(server, "verify-full" if scheme == "rediss" else "disable"),
            "sslmode" in options,
        )

    def __str__(self) -> str:
        return f"{self.address}?store={self.store}"

    @property
    def password(self) -> Credential | None:
        """For the one call that logs in."""
        return self.address.password

    def named(self, what: str) -> str:
        """The name of something of this store. What stands in braces keeps a cluster from scattering it."""
        return f"{{{self.store}}}:{what}"


def _durability(server: ServerAddress) -> Durability:
    asked = server.options.get("durability", "power_loss")
    try:
        return Durability(asked)
    except ValueError:
        raise ConfigurationError(
            "the option durability is power_loss, process_exit or memory",
            adapter=server,
            hint="leave it out, and every save survives a crash of the server",
        ) from None


def _number(server: ServerAddress, what: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= most):
        raise ConfigurationError(
            f"{what} is a whole number from 0 to {most}",
            adapter=f"{server.scheme}://…",
            hint="for example redis://localhost:6379/0?replicas=1",
        )
    return int(text)
