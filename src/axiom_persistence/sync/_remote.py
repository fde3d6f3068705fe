"""What is kept where all devices meet: a state a key, and a log of which keys were sent when.

::

    notes/1              the state of the key ``notes/1``
    <U+0001>sync/head    the number and the name of the last entry of the log
    <U+0001>sync/log/…   each: which keys one commit has changed; the last ones only
    <U+0001>sync/device/…   which devices meet there

States, an entry and the head go into one commit, which expects the head as it was found. So the entries are
in the order of the commits, and who has read up to one of them knows what to fetch.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from ..errors import ConfigurationError, CorruptedDataError, ForeignStoreError, KeyUnavailableError
from ..keys import INTERNAL, KEYSET
from ..layers.tracked import SYNC
from ..records.record import INTERNAL_SCHEMA, look_at, seal_record
from ..storage.adapter import StorageAdapter, Stored
from ._conflict import Pair, clashes_in
from ._devices import SyncDevice, forget_device, known_device, sealed_device
from ._shadow import Local
from ._state import State, decode_state, encode_state

__all__ = ["HEAD", "NAMES", "NOTHING", "TOGETHER", "Head", "Remote", "Seen", "deflated"]

T = TypeVar("T")

HEAD: Final = SYNC + "head"
NAMES: Final = SYNC + "names"
"""The key that hides the names of keys, where they are hidden."""
_LOG: Final = SYNC + "log/"
_STORE: Final = INTERNAL + "store"
"""The header of a store. A remote has none."""

TOGETHER: Final = 4096
"""Keys that are sent together at most, and so kept in memory. Of more a transaction may be split."""

KEPT: Final = 1024
"""Entries of the log. A device that was away for longer lists all keys."""

_DEFLATED: Final = b"AXZ1"
_WORTH_IT: Final = 256
"""Bytes: what is smaller is not deflated."""


class Head(NamedTuple):
    """The end of the log."""

    number: int
    """How many entries there have been."""
    name: str
    """The name of the last one, drawn at random: who reads on knows that it is the log that he read."""
    place: str
    """The name of the remote, drawn at random when something was sent there first."""


NOTHING: Final = Head(0, "", "")
"""The end of a log that nobody has begun."""


class Sent(msgspec.Struct, frozen=True):
    """One entry of the log."""

    name: str
    keys: list[str]
    device: str
    at: float


class _StoredHead(msgspec.Struct):
    format: int
    number: int
    name: str
    place: str


class Seen(NamedTuple):
    """What one fetch found at the remote, all of it of one moment."""

    head: Head
    head_version: str | None
    states: dict[str, State]
    versions: dict[str, str]
    faults: dict[str, str]
    """Keys whose states cannot be read, and why: they are left as they are."""
    view: Any = None
    """All that was there, where the remote needs it again."""


class Remote:
    """The place where devices meet. ``adapter`` is an open adapter; ``hides``: with hidden names of keys."""

    def __init__(self, adapter: StorageAdapter, *, hides: bool = False) -> None:
        traits = adapter.traits
        if not traits.replicated and not (traits.atomic and traits.shared):
            raise ConfigurationError(
                "devices meet in a place that several processes may use, with commits of several keys",
                adapter=adapter,
                hint="SQLite or a directory on a shared disk, or PostgreSQL",
            )
        self.adapter: StorageAdapter = adapter
        self.device: str = ""
        """The name of this device."""
        self.renewed: Callable[[str, State | None], State | None] = lambda _, state: state
        """A key's state as the migrations of this program make it."""
        self._hides = hides
        self.sent: int = 0
        """Bytes of states that were sent."""
        self.received: int = 0
        """Bytes of states that were received."""
        self.saved: int = 0
        """By how many bytes deflating has made shorter what was sent."""

    async def check(self) -> None:
        """Raise ``ForeignStoreError`` for a place that holds a store, and not what devices have sent.

        And ``KeyUnavailableError`` for one that is encrypted, where no key was given.
        """
        found = await self.adapter.fetch((HEAD, _STORE, KEYSET, NAMES))
        if KEYSET in found and not self.adapter.traits.confidential:
            raise KeyUnavailableError(
                "what devices have sent there is encrypted, and no key was given",
                adapter=self.adapter,
                hint="give the key that they share: Sync(..., remote_keys=...), or --remote-keys",
            )
        if NAMES in found and not self._hides:
            raise ConfigurationError(
                "the names of keys are hidden there",
                adapter=self.adapter,
                hint="open it as the other devices do: Sync(..., hide_keys=True), or --hide-keys",
            )
        if _STORE in found and HEAD not in found:
            raise ForeignStoreError(
                "this is a store of its own, not a place where devices meet",
                adapter=self.adapter,
                hint="give sync= an empty place",
            )

    async def introduce(self, device: SyncDevice) -> None:
        """Have the list of devices tell of ``device``, which may never send anything."""
        if not device.is_as_told(await known_device(self.adapter, device.id)):
            await self.adapter.commit(sealed_device(device))

    def accept(self) -> None:
        """Go on with a place that is not the one from before, where that has to be asked."""

    async def faults(self) -> dict[str, str]:
        """What is wrong with the place, by what it is about."""
        return {}

    async def forget(self, device: str) -> bool:
        """Take a device from the list. False: it is not there."""
        return await forget_device(self.adapter, device)

    def keys(self, after: str) -> AsyncIterator[str]:
        """The keys that have a state, behind ``after``, in order."""
        return self.adapter.keys(after=after)

    def clashes(self, local: Local, theirs: State | None, seen: Seen) -> list[Pair]:  # noqa: ARG002
        """The fields that were changed here and, by somebody who did not know that, elsewhere."""
        return clashes_in(local.shadow, theirs)

    async def look(self) -> Head:
        """The end of the log: one small request."""
        stored = (await self.adapter.fetch((HEAD,))).get(HEAD)
        return self._head(stored)

    async def fetch(self, keys: Collection[str]) -> Seen:
        """The states of ``keys`` and the head, of one moment."""
        most = self.adapter.traits.max_key_bytes
        sizes = {key: len(key.encode()) for key in keys}
        found = await self.adapter.fetch([*(key for key in keys if sizes[key] <= most), HEAD])
        stored_head = found.pop(HEAD, None)
        head_version = None if stored_head is None else stored_head.version
        seen = Seen(self._head(stored_head), head_version, {}, {}, {})
        for key, size in sizes.items():
            if size > most:
                seen.faults[key] = f"its name takes {size:,} bytes, and the remote takes {most:,}"
        for key, stored in found.items():
            self.received += len(stored.data)
            try:
                seen.states[key] = decode_state(self._opened(key, stored))
                seen.versions[key] = stored.version
            except ValueError as error:
                seen.faults[key] = f"what another device sent cannot be read: {error}"
        return seen

    def refusal(self, state: State) -> str | None:
        """Why the remote cannot take ``state``; None: it can."""
        size, most = len(encode_state(state)), self.adapter.traits.max_value_bytes
        if most is None or size <= most:
            return None
        return f"it takes {size:,} bytes, and the remote takes {most:,}"

    async def push(
        self,
        states: Mapping[str, State | None],
        seen: Seen,
        device: SyncDevice,
        left: Collection[str] | None = None,  # noqa: ARG002 - where devices do not write the same
    ) -> tuple[Head, Mapping[str, str]]:
        """Send ``states`` (None: forget the key) in one commit, if all is still as it was ``seen``.

        ``left``: all that was seen has been joined, but for these keys. None: it was not.

        The new head, and the versions of what was sent. Raises ``ConflictError`` if anything is not.
        """
        if not states:
            return seen.head, {}
        place = seen.head.place or secrets.token_hex(8)
        head = Head(seen.head.number + 1, secrets.token_hex(8), place)
        entry = Sent(head.name, sorted(states), device.id, device.last_met)
        whole = {
            key: None if state is None else seal_record(key, encode_state(state), INTERNAL_SCHEMA)
            for key, state in states.items()
        }
        plain = {key: len(record or b"") for key, record in whole.items()}
        data = {key: None if record is None else deflated(record) for key, record in whole.items()}
        stored = _StoredHead(1, *head)
        changes: dict[str, bytes | None] = {
            **data,
            **sealed_device(device),
            HEAD: seal_record(HEAD, msgspec.json.encode(stored), INTERNAL_SCHEMA),
            _entry(head.number): seal_record(
                _entry(head.number), msgspec.json.encode(entry), INTERNAL_SCHEMA
            ),
        }
        if head.number > KEPT:
            changes[_entry(head.number - KEPT)] = None
        expect: dict[str, str | None] = {key: seen.versions.get(key) for key in states}
        expect[HEAD] = seen.head_version
        versions = await self.adapter.commit(changes, expect=expect)
        for key, sent in data.items():
            if sent is not None:
                self.sent += len(sent)
                self.saved += plain[key] - len(sent)
        return head, versions

    async def since(self, cursor: Head, head: Head) -> list[str] | None:
        """The keys that were sent after ``cursor`` up to ``head``. None: the log does not tell."""
        if cursor == head:
            return []
        is_new = cursor == NOTHING
        if not is_new and (cursor.place != head.place or cursor.number >= head.number):
            return None
        numbers = range(max(1, cursor.number), head.number + 1)
        if len(numbers) > KEPT:
            return None
        found = await self.adapter.fetch([_entry(number) for number in numbers])
        keys: dict[str, None] = {}
        for number in numbers:
            stored = found.get(_entry(number))
            if stored is None:
                return None
            entry = self._own(_entry(number), stored, Sent)
            if number > cursor.number:
                keys.update(dict.fromkeys(entry.keys))
            elif entry.name != cursor.name:
                return None  # the remote was set back, and went on otherwise
        return list(keys) if len(keys) <= TOGETHER else None

    async def went_on_from(self, cursor: Head, head: Head) -> bool:
        """Whether nothing says that the remote was set back since somebody read its log up to ``cursor``."""
        if cursor.place != head.place or cursor.number > head.number:
            return False
        name = _entry(cursor.number)
        stored = (await self.adapter.fetch((name,))).get(name)
        return stored is None or self._own(name, stored, Sent).name == cursor.name

    # -- bytes -------------------------------------------------------------------------------------

    def _head(self, stored: Stored | None) -> Head:
        if stored is None:
            return NOTHING
        head = self._own(HEAD, stored, _StoredHead)
        if head.format != 1:
            raise ForeignStoreError(
                f"what devices have sent there has format {head.format}; this version knows 1",
                adapter=self.adapter,
                hint="update axiom-persistence",
            )
        return Head(head.number, head.name, head.place)

    def _opened(self, key: str, stored: Stored) -> bytes:
        """The value in a record. Raises ``ValueError`` saying what is wrong with it."""
        if stored.damage is not None:
            raise ValueError(stored.damage)
        data = stored.data
        if data.startswith(_DEFLATED):
            try:
                data = zlib.decompress(data[len(_DEFLATED) :])
            except zlib.error:
                raise ValueError("it cannot be inflated") from None
        record, damage, _ = look_at(key, data, INTERNAL_SCHEMA)
        if record is None:
            raise ValueError(damage)
        return record.value

    def _own(self, name: str, stored: Stored, kind: type[T]) -> T:
        """The head, or an entry of the log. Raises ``CorruptedDataError``."""
        try:
            return msgspec.json.decode(self._opened(name, stored), type=kind)
        except (ValueError, msgspec.MsgspecError) as error:
            raise CorruptedDataError(
                f"the log of what was sent cannot be read: {error}",
                adapter=self.adapter,
                hint="put a backup of that place back; nothing was changed",
            ) from None


def _entry(number: int) -> str:
    return f"{_LOG}{number:012d}"


def deflated(record: bytes) -> bytes:
    if len(record) < _WORTH_IT:
        return record
    packed = _DEFLATED + zlib.compress(record)
    return packed if len(packed) < len(record) else record
