"""Audit trails: options, what is no trail, and one that was touched."""

from dataclasses import replace
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from axiom_persistence import MemoryAdapter, SQLiteAdapter, open_persistence
from axiom_persistence.errors import ConfigurationError, CorruptedDataError
from axiom_persistence.keys import TRAIL
from axiom_persistence.layers.audited import Audited
from axiom_persistence.layers.cached import CachePolicy
from axiom_persistence.security import AuditLog, Checkpoint, actor, sign_checkpoint, verified_checkpoint

from . import MARK, case
from .verbs import Shelf


async def audited(world, log: AuditLog | None = None) -> str:
    """A store with a trail of one entry."""
    async with open_persistence(world.db(), audit=log or AuditLog()) as persistence:
        await persistence.save("k", MARK)
    return world.db()


async def touch(world, key: str, data: bytes | None) -> None:
    async with SQLiteAdapter(world.db()) as adapter:
        await adapter.commit({key: data})


@case(
    ConfigurationError,
    "actor is a text of 1 to 256 characters, not <str of 2,100 characters>; name a person or a "
    'program: actor("anna")',
)
async def name_nobody_as_actor(world):
    with actor(MARK * 300):
        pass


@case(
    ConfigurationError,
    "keep is a timedelta above zero, not <timedelta>; leave keep out to keep all entries; "
    "keep=timedelta(days=365)",
)
async def keep_entries_for_no_time(world):
    AuditLog(keep=timedelta(0))


@case(
    ConfigurationError,
    "anchor is an adapter, not <str of 7 characters>; for example KeychainAdapter('notes-"
    "audit'), or adapter_for(address)",
)
async def anchor_a_trail_in_a_path(world):
    AuditLog(anchor=MARK)


@case(
    ConfigurationError,
    "audit is an AuditLog, not <bool>; from axiom_persistence.security import AuditLog; audit=AuditLog()",
)
async def audit_by_true(world):
    open_persistence(world.db(), audit=True)


@case(
    ConfigurationError,
    "a write-back cache makes one of several changes, and an audit trail has an entry for each;"
    " leave cache out, or audit",
)
async def audit_behind_a_write_back_cache(world):
    open_persistence(world.db(), audit=AuditLog(), cache=CachePolicy.write_back())


@case(
    ConfigurationError,
    "an entry and its change must be one step, which this adapter cannot promise [in "
    "Shelf(shelf://…@attic/top)]; put Journaled around it",
    place=True,
)
async def audit_a_place_without_all_or_nothing(world):
    open_persistence(Shelf(), audit=AuditLog())


@case(
    ConfigurationError,
    "an audit trail needs keys of 64 bytes and values of 1,048,576, which this adapter does not"
    " take [in Small(the memory of this process)]; keep the store elsewhere, or open it without"
    " audit=",
    place=True,
)
async def audit_a_place_for_small_values(world):
    Audited(Small(), AuditLog())


class Small(MemoryAdapter):
    @property
    def traits(self):
        return replace(super().traits, max_value_bytes=2560)


@case(
    ConfigurationError,
    "this store keeps an audit trail, and was opened without audit= [in "
    "SQLiteAdapter(<path>/notes.db)]; open it with audit=AuditLog(); nothing was changed",
    place=True,
)
async def open_an_audited_store_without_audit(world):
    async with open_persistence(await audited(world)):
        pass


@case(
    ConfigurationError,
    "this store keeps no audit trail [in SQLiteAdapter(<path>/notes.db)]; open it with "
    "audit=AuditLog(), and it does from then on",
    place=True,
)
async def read_a_trail_that_is_none(world):
    async with open_persistence(world.db()) as persistence:
        async for _ in persistence.audit():
            pass


@case(
    ConfigurationError,
    "this audit trail hashes keys, so that none can be found by its beginning [in "
    "SQLiteAdapter(<path>/notes.db)]; ask for a whole key, key=",
    place=True,
)
async def read_hashed_keys_by_a_prefix(world):
    async with open_persistence(world.db(), audit=AuditLog(hash_keys=True)) as persistence:
        async for _ in persistence.audit(prefix="k"):
            pass


@case(ConfigurationError, "operation is 'save' or 'delete', not <str of 7 characters>; leave it out for both")
async def read_an_operation_that_is_none(world):
    async with open_persistence(world.db(), audit=AuditLog()) as persistence:
        async for _ in persistence.audit(operation=MARK):
            pass


@case(
    CorruptedDataError,
    "the record that an audit trail begins with is damaged [in SQLiteAdapter(<path>/notes.db)];"
    " put a backup of the store in its place; nothing was changed",
    place=True,
)
async def open_a_trail_whose_record_is_damaged(world):
    await touch(world, TRAIL, b"{}") if await audited(world) else None
    async with open_persistence(world.db(), audit=AuditLog()):
        pass


@case(
    CorruptedDataError,
    "the record that an audit trail begins with is missing, and its entries are there [in "
    "SQLiteAdapter(<path>/notes.db)]; put a backup of the store in its place; nothing was "
    "changed",
    place=True,
)
async def open_a_trail_whose_record_is_gone(world):
    await touch(world, TRAIL, None) if await audited(world) else None
    async with open_persistence(world.db(), audit=AuditLog()):
        pass


@case(
    CorruptedDataError,
    "the audit trail is not what its anchor says: it was cut, or replaced [in MemoryAdapter(the"
    " memory of this process)]; run verify_audit, or `axiom-persistence audit verify`, and keep"
    " the anchor",
    place=True,
)
async def close_a_trail_that_its_anchor_contradicts(world):
    anchor = MemoryAdapter()
    async with Audited(MemoryAdapter(), AuditLog(anchor=anchor)) as first:
        await first.commit({"k": b"1"})
    async with Audited(MemoryAdapter(), AuditLog(anchor=anchor)) as second:
        await second.commit({"k": b"1"})


@case(
    CorruptedDataError,
    "the anchor of the audit trail is damaged [in MemoryAdapter(the memory of this process)]; "
    "verify the trail with a checkpoint that was kept elsewhere, then remove the anchor",
    place=True,
)
async def read_an_anchor_that_is_damaged(world):
    anchor = MemoryAdapter()
    async with anchor:
        await anchor.commit({"axiom-audit": b"{}"})
    async with Audited(MemoryAdapter(), AuditLog(anchor=anchor)) as adapter:
        await adapter.commit({"k": b"1"})


_CHECKPOINT = Checkpoint("ab" * 16, 3, 700, "cd" * 32)
_KEYS_HINT = (
    "`openssl genpkey -algorithm ed25519 -out private.pem` makes the private key, "
    "`openssl pkey -in private.pem -pubout -out public.pem` the public one"
)


@case(ConfigurationError, f"this is no private Ed25519 key in PEM without a passphrase; {_KEYS_HINT}")
async def sign_with_what_is_no_key(world):
    sign_checkpoint(_CHECKPOINT, MARK.encode())


@case(ConfigurationError, f"this is no public Ed25519 key in PEM without a passphrase; {_KEYS_HINT}")
async def verify_with_what_is_no_key(world):
    verified_checkpoint(b"{}", MARK.encode())


@case(
    CorruptedDataError,
    "the signature of the checkpoint is missing or wrong; it was altered, or signed with another key: "
    "take a copy that is whole, and its public key",
)
async def a_checkpoint_without_a_signature(world):
    public = Ed25519PrivateKey.generate().public_key()
    verified_checkpoint(b"{}", public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
