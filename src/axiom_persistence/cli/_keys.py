"""``--keys``: who has the key of an encrypted store, as a person spells it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Literal

import click

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..security.keys import KeyProvider

__all__ = [
    "keys_given",
    "keys_option",
    "provider",
    "refuse_to_reveal",
    "remote_keys_option",
    "reveal_option",
]

_GIVEN: Final = "axiom_persistence.keys"
_NAMED: Final = "keychain:NAME, file:PATH, env:NAME, credential:NAME or passphrase"
_KINDS: Final = f"keychain, {_NAMED}"


def _keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    del param
    if value is not None:
        ctx.meta[_GIVEN] = value


keys_option: Final = click.option(
    "--keys",
    "key_source",
    metavar="KEYS",
    envvar="AXIOM_PERSISTENCE_KEYS",
    expose_value=False,
    callback=_keep,
    help=f"Who has the key of an encrypted store: {_KINDS}, which asks.",
)

remote_keys_option: Final = click.option(
    "--remote-keys",
    metavar="KEYS",
    envvar="AXIOM_PERSISTENCE_REMOTE_KEYS",
    help=f"Who has the key of an encrypted place where devices meet: {_NAMED}.",
)

reveal_option: Final = click.option("--reveal", is_flag=True, help="Show confidential values, too.")


def keys_given(*, create: bool = False) -> KeyProvider | Literal["keychain"] | None:
    """What ``--keys`` says, for ``open_persistence``. Asks for a passphrase once.

    ``create``: a key file that is not there is made. Raises ``ConfigurationError`` for another spelling.
    """
    context = click.get_current_context()
    given: KeyProvider | str | None = context.meta.get(_GIVEN)
    if given == "keychain":
        return "keychain"
    if not isinstance(given, str):
        return given  # made before, or none
    made = provider(given, create=create)
    context.meta[_GIVEN] = made
    return made


def provider(spelt: str, *, create: bool = False, option: str = "--keys") -> KeyProvider:
    """Who ``spelt`` says has the key. Raises ``ConfigurationError`` for another spelling."""
    from ..security.keys import CredentialKey, EnvironmentKey, FileKey, KeychainKey, PassphraseKey

    kind, _, name = spelt.partition(":")
    if kind == "keychain" and name:
        return KeychainKey(name)
    if kind == "file" and name:
        return FileKey(name, create=create)
    if kind == "env" and name:
        return EnvironmentKey(name)
    if kind == "credential" and name:
        return CredentialKey(name)
    if spelt == "passphrase":
        return PassphraseKey(_asked(twice=create))
    kinds = _KINDS if option == "--keys" else _NAMED
    raise ConfigurationError(f"{option} {spelt!r} names no key", hint=f"write {kinds}")


def _asked(*, twice: bool) -> str:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "a passphrase is typed at a terminal, and this is none",
            hint="--keys file:PATH or env:NAME works where nobody can be asked",
        )
    text: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    return text


def refuse_to_reveal(what: str) -> ConfigurationError:
    """The error for a command that would write confidential values where everybody sees them."""
    return ConfigurationError(f"{what} is confidential", hint="--reveal shows it all the same")
