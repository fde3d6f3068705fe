"""The TLS of a connection to a server, as the options of its address say."""

from __future__ import annotations

import ssl
from typing import Final

from ...errors import ConfigurationError
from .address import ServerAddress

__all__ = ["TLS_OPTIONS", "tls_context"]

TLS_OPTIONS: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey")
"""What an address may say of it, as ``tls_context`` reads it."""
_MODES: Final = ("disable", "require", "verify-ca", "verify-full")


def tls_context(server: ServerAddress, usual: str) -> ssl.SSLContext | None:
    """For the connections to ``server``. None: in plain text. ``usual``: the mode where none is named.

    Raises ``ConfigurationError``.
    """
    options = server.options
    mode = options.get("sslmode", usual)
    if mode not in _MODES:
        raise ConfigurationError(
            f"the option sslmode is one of {', '.join(_MODES)}",
            adapter=server,
            hint="modes that fall back to plain text without a word are not offered",
        )
    if mode == "disable":
        return None
    try:
        context = ssl.create_default_context(cafile=options.get("sslrootcert"))
        if "sslcert" in options:
            context.load_cert_chain(options["sslcert"], options.get("sslkey"))
    except OSError as error:
        raise ConfigurationError(
            f"a certificate or key cannot be read: {error.strerror or type(error).__name__}",
            adapter=server,
            hint="check the paths in sslrootcert, sslcert and sslkey",
        ) from error
    if mode != "verify-full":
        context.check_hostname = False
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context
