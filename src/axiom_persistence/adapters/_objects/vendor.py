"""What the kinds of buckets have of their own: the words of their addresses, keys, and answers."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ...errors import ConfigurationError
from .._networked.address import ServerAddress

__all__ = ["VENDORS", "Vendor"]

_SHARED: Final = ("endpoint", "plaintext", "durability", "timeout")


@dataclass(frozen=True, slots=True)
class Vendor:
    """A kind of bucket. Its words stand in errors and hints."""

    scheme: str
    form: str
    """Of an address."""
    bucket: str
    """What it calls a bucket."""
    rule: str
    """What an address names."""
    account: re.Pattern[str] | None
    """The name of what the bucket belongs to, which stands before it; None: no name does."""
    name: re.Pattern[str]
    """Of a bucket."""
    options: tuple[str, ...]
    keys: str
    """Where its client finds keys."""
    variables: str
    """How the names of the environment begin that its client reads."""
    absent: str
    """The code of its answer where there is no such bucket."""
    condition: str
    """The header that says: only if there is no object of that name."""
    login: Callable[[ServerAddress, str | None], dict[str, Any]]
    """The client's settings of an address and endpoint, secrets included; or ``ConfigurationError``."""


def _amazon(server: ServerAddress, endpoint: str | None) -> dict[str, Any]:
    options = server.options
    found: dict[str, Any] = {
        "virtual_hosted_style_request": not server.flag("path_style", endpoint is not None),
        "conditional_put": "etag",
    }
    if endpoint is not None:
        found["endpoint"] = endpoint
    if "region" in options or endpoint is not None:
        found["region"] = options.get("region", "us-east-1")
    if server.user is not None:
        found["access_key_id"] = server.user
    if server.password is not None:
        found["secret_access_key"] = server.password.reveal()
    if server.flag("anonymous", False):
        found["skip_signature"] = True
    return found


def _azure(server: ServerAddress, endpoint: str | None) -> dict[str, Any]:
    account = server.hosts[0][0]
    found: dict[str, Any] = {"account_name": account}
    if endpoint is not None:
        # A host that serves many accounts, as Azurite is, has the account in the path.
        named = endpoint.partition("://")[2].startswith(f"{account}.")
        found["endpoint"] = endpoint if named else f"{endpoint}/{account}"
    if server.password is not None:
        found["account_key"] = server.password.reveal()
    if server.user is not None or not _is_base64(found.get("account_key", "")):
        raise ConfigurationError(
            "what stands before the '@' in an address of az is no ':' with a key of the account behind it",
            adapter=f"az://{account}",
            hint="copy the key as Azure shows it, and write %2F for each '/' in it",
        )
    return found


def _google(server: ServerAddress, endpoint: str | None) -> dict[str, Any]:
    if server.user is not None or server.password is not None:
        raise ConfigurationError(
            "an address of gs has no user and no key",
            adapter=f"gs://{server.hosts[0][0]}",
            hint="set GOOGLE_APPLICATION_CREDENTIALS to the path of the file that has them",
        )
    return {} if endpoint is None else {"base_url": endpoint}


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


VENDORS: Final = {
    each.scheme: each
    for each in (
        Vendor(
            scheme="s3",
            form="s3://bucket/prefix",
            bucket="bucket",
            rule="names one bucket: 3 to 63 letters, digits, '-', '_' and '.'",
            account=None,
            name=re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]"),
            options=(*_SHARED, "region", "path_style", "anonymous"),
            keys="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write s3://user:secret@bucket/prefix",
            variables="AWS_",
            absent="NoSuchBucket",
            condition="If-None-Match",
            login=_amazon,
        ),
        Vendor(
            scheme="az",
            form="az://account/container/prefix",
            bucket="container",
            rule="names an account, 3 to 24 small letters and digits, and one of its containers, 3 to 63 "
            "small letters, digits and '-'",
            account=re.compile(r"[a-z0-9]{3,24}"),
            name=re.compile(r"[a-z0-9](-?[a-z0-9]){2,62}"),
            options=_SHARED,
            keys="set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or write ':', the account's key "
            "and '@' before the account",
            variables="AZURE_",
            absent="ContainerNotFound",
            condition="If-None-Match",
            login=_azure,
        ),
        Vendor(
            scheme="gs",
            form="gs://bucket/prefix",
            bucket="bucket",
            rule="names one bucket: 3 to 222 small letters, digits, '-', '_' and '.'",
            account=None,
            name=re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"),
            options=_SHARED,
            keys="set GOOGLE_APPLICATION_CREDENTIALS to the path of the file that has them",
            variables="GOOGLE_",
            absent="NoSuchBucket",
            condition="x-goog-if-generation-match",
            login=_google,
        ),
    )
}
"""By the scheme of their addresses."""
