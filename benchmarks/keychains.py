"""A small secret in the system's keychain: through us, through secretstorage and through keyring.

On a real gnome-keyring of its own, as the tests start it: nobody's keychain is touched.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from .contender import Unavailable
from .scenarios import Figures, Parameters, scenario

__all__: list[str] = []

SECRET: Final = "s3cr3t" * 5
Ways = tuple[Callable[[int], Awaitable[object]], Callable[[int], Awaitable[object]]]


async def ours(number: int) -> Ways:
    from axiom_persistence.adapters.keychain import KeychainAdapter

    adapter = KeychainAdapter("bench")
    await adapter.aopen()

    async def write(number: int) -> None:
        await adapter.write(f"key {number}", SECRET.encode())

    async def read(number: int) -> None:
        assert await adapter.read(f"key {number}") == SECRET.encode()

    return write, read


async def bare(number: int) -> Ways:
    """secretstorage over one kept connection: the calls that one operation needs, and no more."""
    import secretstorage

    connection = secretstorage.dbus_init()
    collection = secretstorage.get_default_collection(connection)

    def attributes(number: int) -> dict[str, str]:
        return {"application": "bench", "key": f"key {number}"}

    async def write(number: int) -> None:
        collection.create_item(f"bench {number}", attributes(number), SECRET.encode(), replace=True)

    async def read(number: int) -> None:
        (item,) = collection.search_items(attributes(number))
        assert item.get_secret() == SECRET.encode()

    return write, read


async def messages(number: int) -> Ways:
    """The floor: the one message that writes a secret, and the two that find and read it, on one session."""
    import secretstorage
    from secretstorage.defines import SS_PATH, SS_PREFIX
    from secretstorage.dhcrypto import Session
    from secretstorage.util import DBusAddressWrapper, format_secret, open_session

    connection = secretstorage.dbus_init()
    session: Session = open_session(connection)
    path = secretstorage.Collection(connection, session=session).collection_path
    collection = DBusAddressWrapper(path, f"{SS_PREFIX}Collection", connection)
    service = DBusAddressWrapper(SS_PATH, f"{SS_PREFIX}Service", connection)

    def attributes(number: int) -> dict[str, str]:
        return {"application": "bench", "key": f"key {number}"}

    async def write(number: int) -> None:
        properties = {
            f"{SS_PREFIX}Item.Label": ("s", f"bench {number}"),
            f"{SS_PREFIX}Item.Attributes": ("a{ss}", attributes(number)),
        }
        secret = format_secret(session, SECRET.encode(), "text/plain")
        collection.call("CreateItem", "a{sv}(oayays)b", properties, secret, True)

    async def read(number: int) -> None:
        (found,) = collection.call("SearchItems", "a{ss}", attributes(number))
        (secrets,) = service.call("GetSecrets", "aoo", found, session.object_path)
        assert len(secrets) == 1

    return write, read


async def by_keyring(number: int) -> Ways:
    try:
        import keyring
        from keyring.backends.SecretService import Keyring as Backend
    except ImportError as error:
        raise Unavailable("keyring is not installed") from error
    keyring.set_keyring(Backend())

    async def write(number: int) -> None:
        keyring.set_password("bench", f"key {number}", SECRET)

    async def read(number: int) -> None:
        assert keyring.get_password("bench", f"key {number}") == SECRET

    return write, read


WAYS: Final[dict[str, Callable[[int], Awaitable[Ways]]]] = {
    "ours": ours,
    "secretstorage": bare,
    "messages": messages,
    "keyring": by_keyring,
}


@scenario("keychain")
async def keychain(directory: Path, parameters: Parameters) -> Figures:
    """Microseconds of a write over ten keys, and of a read."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.keyring import MISSING, REASON, Keyring

    if MISSING:
        raise Unavailable(REASON)
    daemon: Any = Keyring(directory)
    try:
        os.environ.update(daemon.environment)
        write, read = await WAYS[parameters["way"]](0)
        return {
            "write_us": await _median(write, parameters["count"]),
            "read_us": await _median(read, parameters["count"]),
        }
    finally:
        daemon.close()


async def _median(operation: Callable[[int], Awaitable[object]], count: int) -> float:
    for number in range(10):
        await operation(number)
    times = []
    for number in range(count):
        started = perf_counter()
        await operation(number % 10)
        times.append(perf_counter() - started)
    return statistics.median(times) * 1e6
