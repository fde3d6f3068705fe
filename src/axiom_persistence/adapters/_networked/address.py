"""The address of a server, whose credentials nothing shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qsl, unquote

from ...errors import ConfigurationError, nearest

__all__ = ["Credential", "ServerAddress", "is_here"]

_TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_LOOPBACK: Final = ("localhost", "::1")


class Credential:
    """A password or token. Only ``reveal`` gives it away: no repr, no error and no pickle does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Credential(…)"

    def __reduce__(self) -> tuple[type[Credential], tuple[str]]:
        raise TypeError("a credential is not pickled: pass the address to the other process by its own means")

    def reveal(self) -> str:
        """The text itself, for the one call that logs in."""
        return self._value


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """``scheme://user:password@host:port,host:port/path?option=value``, taken apart.

    ``str`` is the address without user, password and options, as ``location`` and errors show it.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """At least one: a name or number without brackets, or the directory of a socket; and its port."""
    path: str
    """What stands behind the hosts, decoded, without its first slash."""
    user: str | None = field(default=None, repr=False)
    password: Credential | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, scheme: str, address: str, *, port: int, known: Collection[str]) -> Self:
        """Take ``address`` apart. ``port``: where none is given. ``known``: the names of options.

        Raises ``ConfigurationError``, which shows no part that may be a secret.
        """
        if not address.startswith(f"{scheme}://"):
            raise ConfigurationError(
                f"an address of {scheme} begins with {scheme}://", hint=f"write {scheme}://host/name"
            )
        # A '?', '/' or '@' in a password is percent-encoded; the last '@' before the path is the one.
        before, _, query = address[len(scheme) + 3 :].partition("?")
        authority, _, path = before.partition("/")
        login, _, named = authority.rpartition("@")
        user, colon, password = login.partition(":")
        found = parse_qsl(query, keep_blank_values=True)
        for name, _value in found:
            _refuse_unknown(scheme, name, known)
        return cls(
            scheme,
            tuple(_host(scheme, each, port) for each in named.split(",")),
            unquote(path),
            unquote(user) or None,
            Credential(unquote(password)) if colon else None,
            dict(found),
        )

    def __str__(self) -> str:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts}/{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves this machine: every host is a loopback address or a socket."""
        return all(is_here(host) for host, _ in self.hosts)

    def flag(self, name: str, default: bool) -> bool:
        """An option that is ``true`` or ``false``."""
        text = self.options.get(name)
        if text is None:
            return default
        if text.lower() not in _TRUTHS:
            raise ConfigurationError(
                f"the option {name} is true or false", adapter=str(self), hint="leave it out for the usual"
            )
        return _TRUTHS[text.lower()]

    def seconds(self, name: str, default: float) -> float:
        """An option that is a time, above 0."""
        text = self.options.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ConfigurationError(
                f"the option {name} is a number of seconds above 0", adapter=str(self), hint="for example 30"
            )
        return value


def is_here(host: str) -> bool:
    """Whether nothing that goes to ``host`` leaves this machine: a loopback address, or a socket's path."""
    return host in _LOOPBACK or (host.startswith(("127.", "/")) and not host.endswith("."))


def _refuse_unknown(scheme: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    meant = nearest(name, known)
    raise ConfigurationError(
        f"an address of {scheme} has no option of that name",  # which may be a part of a password
        hint=(f"is {meant} meant? " if meant else "")
        + f"known are {', '.join(sorted(known))}; in passwords, '?', '/', '@' and '#' are percent-encoded",
    )


def _host(scheme: str, text: str, port: int) -> tuple[str, int]:
    if text.startswith("["):
        name, _, number = text[1:].partition("]")
        number = number.removeprefix(":")
    else:
        name, _, number = text.partition(":")
    if number and not (number.isdecimal() and 0 < int(number) < 65536):
        raise ConfigurationError(
            f"the port in an address of {scheme} is no number between 1 and 65535",
            hint="in passwords, '/', '@', '?' and '#' are percent-encoded",
        )
    return unquote(name) or "localhost", int(number) if number else port
