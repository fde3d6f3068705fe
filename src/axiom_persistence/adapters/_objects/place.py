"""Where a store lies: which bucket, below which prefix, and how its server is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

from ...errors import ConfigurationError
from ...storage.adapter import Durability
from .._networked.address import ServerAddress
from .vendor import VENDORS, Vendor

__all__ = ["Place"]

LONGEST_S: Final = 1200
_PREFIX: Final = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9!_.'()=-]+(/[A-Za-z0-9!_.'()=-]+)*")
_NO_PORT: Final = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A store's address, understood."""

    vendor: Vendor
    account: str | None
    """What the bucket belongs to, where addresses name it."""
    bucket: str
    prefix: str
    """Without slashes at its ends; empty: the whole bucket."""
    endpoint: str | None
    """Of a server that is not the vendor's own."""
    durability: Durability
    timeout: float
    """Seconds until a call that gets no answer is given up."""
    address: ServerAddress = field(repr=False)

    @classmethod
    def parse(cls, address: str) -> Self:
        """Raises ``ConfigurationError`` for an address that cannot be."""
        vendor = VENDORS.get(address.partition(":")[0], VENDORS["s3"])
        server = ServerAddress.parse(vendor.scheme, address, port=_NO_PORT, known=vendor.options)
        account, bucket, prefix = _named(vendor, server)
        shown = "/".join(filter(None, (f"{vendor.scheme}:/", account, bucket)))
        if prefix and not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(
                f"the prefix in an address of {vendor.scheme} has letters, digits and !_.'()=- between its "
                "slashes",
                adapter=shown,
                hint=f"for example {vendor.form}",
            )
        shown = f"{shown}/{prefix}"
        endpoint = _endpoint(vendor, server, shown)
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
        vendor.login(server, endpoint)  # refused here, not at opening
        return cls(vendor, account, bucket, prefix, endpoint, Durability(asked), timeout, server)

    def __str__(self) -> str:
        names = "/".join(filter(None, (self.account, self.bucket)))
        return f"{self.vendor.scheme}://{names}/{self.prefix}" + (
            f"?endpoint={self.endpoint}" if self.endpoint else ""
        )

    @property
    def login(self) -> dict[str, Any]:
        """The arguments that reach it, the secret key included: for the one call that does."""
        return self.vendor.login(self.address, self.endpoint)


def _named(vendor: Vendor, server: ServerAddress) -> tuple[str | None, str, str]:
    """The account, the bucket, and the prefix without slashes at its ends."""
    (host, port), *others = server.hosts
    names = [host, *server.path.split("/", 1)] if vendor.account else ["", host, server.path]
    account, bucket, prefix = [*names, "", ""][:3]
    is_account = vendor.account is None or vendor.account.fullmatch(account)
    if others or port != _NO_PORT or not is_account or not vendor.name.fullmatch(bucket):
        raise ConfigurationError(
            f"an address of {vendor.scheme} {vendor.rule}",
            hint=f"write {vendor.form}; the server's host stands in ?endpoint=https://host:port",
        )
    return account or None, bucket, prefix.strip("/")


def _endpoint(vendor: Vendor, server: ServerAddress, shown: str) -> str | None:
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
            hint=f"keys stand elsewhere: {vendor.keys}",
        )
    local = ServerAddress("", ((host, 0),), "").is_local
    if parts.scheme == "http" and not local and not server.flag("plaintext", False):
        raise ConfigurationError(
            "the endpoint is not reached by https, and what is saved would cross the network in plain text",
            adapter=shown,
            hint="write https://, or add plaintext=true for a network you trust",
        )
    return f"{parts.scheme}://{parts.netloc}"
