"""Where a store lies: which server, how it is reached, and the names of its tables."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Self

from ...errors import ConfigurationError
from ...storage.adapter import Durability
from .._networked.address import ServerAddress
from .._networked.tls import TLS_OPTIONS, tls_context

__all__ = ["Place"]

SCHEME: Final = "postgresql"
OPTIONS: Final = ("table", "schema", "durability", "timeout", "pgbouncer", *TLS_OPTIONS)
LONGEST_S: Final = 1200
"""Of a timeout. A second copy of a commit must find the note of the first."""
_MOST_NAME: Final = 50
"""Bytes of a table's name: PostgreSQL cuts names at 63, and ours get endings."""
_NO_SESSION: Final = frozenset({"application_name"})
"""The settings that pgbouncer takes from a client."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store's address, understood."""

    address: ServerAddress
    schema: str
    table: str
    durability: Durability
    timeout: float
    """Seconds until a call that gets no answer is given up."""
    pgbouncer: bool
    """Sessions are shared: nothing can be set or prepared in one."""
    tls: ssl.SSLContext | None = field(repr=False)

    @classmethod
    def parse(cls, address: str) -> Self:
        """Raises ``ConfigurationError`` for an address that cannot be."""
        server = ServerAddress.parse(SCHEME, address, port=5432, known=OPTIONS)
        options = server.options
        names = options.get("schema", "public"), options.get("table", "axiom_record")
        for name in names:
            if not name or "\0" in name or '"' in name or len(name.encode()) > _MOST_NAME:
                raise ConfigurationError(
                    "a table's or schema's name has 1 to 50 bytes and no quotation mark",
                    adapter=server,
                    hint="for example table=notes",
                )
        asked = options.get("durability", "power_loss")
        if asked not in (Durability.POWER_LOSS, Durability.PROCESS_EXIT):
            raise ConfigurationError(
                "the option durability is power_loss or process_exit",
                adapter=server,
                hint="leave it out, and every save survives a crash of the server",
            )
        timeout = server.seconds("timeout", 30.0)
        if timeout > LONGEST_S:
            raise ConfigurationError(
                f"the option timeout is at most {LONGEST_S} seconds: a commit is remembered for an hour",
                adapter=str(server),
                hint="for example 30",
            )
        return cls(
            server,
            *names,
            Durability(asked),
            timeout,
            server.flag("pgbouncer", False),
            tls_context(server, "disable" if server.is_local else "verify-full"),
        )

    def __str__(self) -> str:
        return f"{self.address}?schema={self.schema}&table={self.table}"

    @property
    def login(self) -> dict[str, Any]:
        """The arguments that connect to it, the password included: for the one call that does."""
        address = self.address
        hosts, ports = zip(*address.hosts, strict=True)
        return {
            "host": list(hosts),
            "port": list(ports),
            "user": address.user,
            "password": None if address.password is None else address.password.reveal(),
            "database": address.path or None,
            "ssl": self.tls or False,
            # Of several hosts, the one that is the primary now; of one, the probe says what it is.
            "target_session_attrs": "read-write" if len(hosts) > 1 else "any",
            "statement_cache_size": 0 if self.pgbouncer else 100,
            "server_settings": self._settings,
        }

    @property
    def _settings(self) -> dict[str, str]:
        settings = {
            "application_name": "axiom-persistence",
            "default_transaction_isolation": "read committed",  # our statements are made for it
            "statement_timeout": str(int(self.timeout * 1000)),
            "enable_seqscan": "off",  # a plan that was made when the table was small stays
            "jit": "off",  # compiling takes longer than the statements do
        }
        if self.pgbouncer:
            return {name: value for name, value in settings.items() if name in _NO_SESSION}
        return settings
