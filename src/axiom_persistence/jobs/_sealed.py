"""Records in an archive that stay sealed with the key of their subject, and are erased with it."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ..records._subject import tag_in
from ..records.record import Damage, body_of
from ..store.store import Store

if TYPE_CHECKING:
    from ..layers.erasable import Erasable

__all__ = ["sealed_body", "sealing_of", "tag_of_sealed", "unsealed_body"]

_SEALED: Final = re.compile(rb'"subject":"([0-9a-f]{32}-[0-9a-f]{16})","sealed":"([A-Za-z0-9+/=]+)"\}')


def sealing_of(store: Store) -> Erasable:
    """The layer that has the keys of subjects. Raises ``ConfigurationError`` where there is none."""
    if store.confidential:
        from ..layers.erasable import Erasable

        found = store.adapter.find(Erasable)
        if found is not None:
            return found
    raise ConfigurationError(
        "only an encrypted store has keys of subjects",
        adapter=store.adapter,
        hint="leave sealed out, or open the store with keys=",
    )


async def sealed_body(erasable: Erasable, key: str, data: bytes) -> bytes:
    """What an archive has of the whole record ``data``: that of a subject stays sealed."""
    tag = tag_in(data)
    if tag is None:
        return body_of(data)
    sealed = (await erasable.sealed({key: data}))[key] or b""
    return b'"subject":"%b","sealed":"%b"}' % (tag.encode(), b64encode(sealed))


def tag_of_sealed(body: bytes) -> str | None:
    """Whose record ``body`` is. None: it is not sealed."""
    found = _SEALED.fullmatch(body)
    return None if found is None else found[1].decode()


async def unsealed_body(store: Store, key: str, body: bytes) -> bytes:
    """What ``sealed_body`` was made of. Raises ``Damage`` where the key is not here, or for another key."""
    found = _SEALED.fullmatch(body)
    if found is None:
        return body
    try:
        erasable = sealing_of(store)
    except ConfigurationError as error:
        raise Damage(f"it is sealed with the key of a subject: {error.message}") from None
    sealed = b64decode(found[2])
    data = (await erasable.unsealed({key: sealed}))[key]
    if data is None or data == sealed:
        raise Damage("it is sealed with the key of a subject, which is not here, or for another key")
    return body_of(data)
