"""What this machine offers a store, looked at one thing at a time. Nothing is written, nobody is asked."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple

from ..adapters._networked.adapter import NO_STORE
from ..errors import (
    AuthenticationError,
    ConfigurationError,
    PersistenceError,
    StorageUnavailableError,
)
from ..opening.addresses import adapter_for
from ..platform.local import local_preferences, local_secrets, preferences_file
from ..platform.mounts import file_system_type, is_network
from ..platform.places import application_directory
from ..security._fingerprint import look_for_prints
from ..security._polkit import PolkitAuthenticator
from ..security._touch_id import TouchIDAuthenticator
from ..security._windows_hello import WindowsHelloAuthenticator
from ..security.presence import Authenticator
from ..storage.adapter import StorageAdapter

__all__ = ["PROBES", "Found", "usual_place"]

_SUITE: Final = "axiom-persistence-doctor"
_ACTION: Final = "org.freedesktop.policykit.exec"
"""One that every polkit knows."""
_AUTHENTICATORS: Final[dict[str, Callable[[], Authenticator]]] = {
    "darwin": TouchIDAuthenticator,
    "win32": WindowsHelloAuthenticator,
}
_KEYCHAIN_S: Final = 10.0
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
_NAME: Final = re.compile(r"[\w.-]+")
_NOT_HERE: Final = re.compile(r"""sys_platform\s*==\s*['"](\w+)['"]""")
_BELOW: Final = re.compile(r"""python_version\s*<\s*['"]3\.(\d+)['"]""")


class Found(NamedTuple):
    """What a probe says of one thing."""

    name: str
    ok: bool
    said: str
    """What is there, or what is wrong."""
    hint: str = ""
    """What to install, or to do."""


def python(where: str) -> Iterator[Found]:
    del where
    version = ".".join(map(str, sys.version_info[:3]))
    yield Found("python", True, f"Python {version}, SQLite {sqlite3.sqlite_version}")


def place(where: str) -> Iterator[Found]:
    """The file system on which the store at ``where`` is, or would be."""
    try:
        location = adapter_for(where, inspect=True).location
    except PersistenceError as error:
        yield Found("place", False, error.message, error.hint)
        return
    if not os.path.isabs(location):
        yield Found("place", True, f"{location}; it has no files")
        return
    directory = next(each for each in Path(location).parents if each.exists())
    kind = file_system_type(str(directory)) or "of a type that is not told"
    if not os.access(directory, os.W_OK | os.X_OK):
        yield Found("place", False, f"{directory} is not writable", "choose another place, or its owner")
    elif is_network(str(directory)):
        yield Found(
            "place",
            False,
            f"{directory} is on a network file system ({kind})",
            "choose a local disk; SQLite works there for one process, with exclusive=True",
        )
    elif kind in ("tmpfs", "ramfs"):
        yield Found("place", False, f"{directory} is in memory ({kind})", "it is empty after a restart")
    else:
        yield Found("place", True, f"{directory}, {kind}")


def keychain(where: str) -> Iterator[Found]:
    """Connected to, in a thread: a keychain may wait for a person."""
    del where

    found: list[Found] = []

    def look() -> None:
        try:
            secrets = local_secrets(_SUITE, allow_prompt=False)
            secrets.open()
            secrets.close()
        except PersistenceError as error:
            found.append(Found("keychain", False, error.message, error.hint))
        else:
            found.append(Found("keychain", True, secrets.kind))

    looking = threading.Thread(target=look, name="axiom-doctor", daemon=True)
    looking.start()
    looking.join(_KEYCHAIN_S)
    silent = Found("keychain", False, f"no answer within {_KEYCHAIN_S:.0f} seconds", "is it running?")
    yield found[0] if found else silent


def preferences(where: str) -> Iterator[Found]:
    del where
    try:
        opened = local_preferences(_SUITE, None, preferences_file(_SUITE))
    except (ConfigurationError, StorageUnavailableError) as error:
        yield Found("preferences", False, error.message, error.hint)
        return
    kind = opened.kind
    opened.close()
    yield Found("preferences", True, kind)


def gates(where: str) -> Iterator[Found]:
    """Who could ask the person at this machine, each of the ways that its system has."""
    del where
    make = _AUTHENTICATORS.get(sys.platform)
    if make is None:
        yield _gate("fingerprint", "fprintd, and a finger that it knows", look_for_prints)
        yield _gate("polkit", "polkit", PolkitAuthenticator(_ACTION).may_ask)
        return
    asking = make()
    there = asyncio.run(asking.can_authenticate())
    hint = "" if there else "set it up in the system's settings; pip install 'axiom-persistence[gates]'"
    yield Found(f"gate {asking.name}", there, "there" if there else "it cannot be used now", hint)


def _gate(name: str, said: str, look: Callable[[], object]) -> Found:
    try:
        look()
    except (AuthenticationError, ConfigurationError) as error:
        return Found(f"gate {name}", False, error.message, error.hint)
    return Found(f"gate {name}", True, said)


def server(where: str) -> Iterator[Found]:
    """Whether the server of an address answers, lets this user in, and keeps what it acknowledges."""
    try:
        adapter = adapter_for(where, inspect=True)
    except PersistenceError:
        return  # the place says so
    if "://" not in adapter.location:
        return
    try:
        asyncio.run(_opened_and_closed(adapter))
    except PersistenceError as error:
        if error.message == NO_STORE:  # and not a database or a bucket that nobody makes by opening it
            yield Found("server", True, f"{_promise(adapter)}; no store is there yet")
            return
        yield Found("server", False, error.message, error.hint)
    else:
        yield Found("server", True, _promise(adapter))


async def _opened_and_closed(adapter: StorageAdapter) -> None:
    async with adapter:
        """What it refuses is refused when it is opened."""


def _promise(adapter: StorageAdapter) -> str:
    return f"it answers; what it acknowledges survives: {adapter.traits.durability.value}"


def extras(where: str) -> Iterator[Found]:
    """The optional packages that this distribution names, and whether they are installed."""
    del where
    for extra, packages in _extras().items():
        missing = [package for package in packages if not _is_installed(package)]
        hint = f"pip install 'axiom-persistence[{extra}]'" if missing else ""
        said = (
            f"missing: {', '.join(missing)}" if missing else ", ".join(packages) or "nothing is needed here"
        )
        yield Found(f"extra {extra}", not missing, said, hint)


def _extras() -> dict[str, list[str]]:
    """The packages of each extra, as the metadata of what is installed has them, for this machine."""
    found: dict[str, list[str]] = {}
    try:
        requirements = distribution("axiom-persistence").requires or []
    except PackageNotFoundError:
        return found  # run from its sources
    for requirement in requirements:
        extra, platform = _EXTRA.search(requirement), _NOT_HERE.search(requirement)
        below = _BELOW.search(requirement)
        name = _NAME.match(requirement)
        if extra is None or extra[1] == "all" or name is None:
            continue
        packages = found.setdefault(extra[1], [])
        wanted = platform is None or platform[1] == sys.platform
        if wanted and (below is None or sys.version_info[1] < int(below[1])):
            packages.append(name[0])
    return found


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


PROBES: Final[tuple[Callable[[str], Iterator[Found]], ...]] = (
    python,
    place,
    server,
    keychain,
    preferences,
    gates,
    extras,
)
"""Each is given the address of a store, and says one thing or several. More are added here."""


def usual_place() -> str:
    """Where an application's data would be, as an address."""
    return str(application_directory(_SUITE) / "state.db")
