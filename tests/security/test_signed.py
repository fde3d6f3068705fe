"""A signed checkpoint finds that a trail was cut, and that somebody made the checkpoint fit."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from axiom_persistence import MemoryAdapter, open_persistence
from axiom_persistence.errors import ConfigurationError, CorruptedDataError
from axiom_persistence.security import AuditLog, Checkpoint, sign_checkpoint, verified_checkpoint
from axiom_persistence.security._seals import batch_key


def pair():
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PRIVATE, PUBLIC = pair()
CHECKPOINT = Checkpoint("ab" * 16, 3, 700, "cd" * 32)


def test_what_is_signed_comes_back_and_shows_itself():
    signed = sign_checkpoint(CHECKPOINT, PRIVATE)
    assert verified_checkpoint(signed, PUBLIC) == CHECKPOINT
    assert msgspec.convert(msgspec.json.decode(signed), Checkpoint) == CHECKPOINT


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 2},
        {"entries": 699},
        {"trail": "00" * 16},
        {"head": "00" * 32},
        {"signature": "AAAA"},
        {"signature": "no base64"},
        {"signature": None},
    ],
    ids=str,
)
def test_whatever_is_altered_is_refused(change):
    altered = {**msgspec.json.decode(sign_checkpoint(CHECKPOINT, PRIVATE)), **change}
    with pytest.raises(CorruptedDataError, match="signature"):
        verified_checkpoint(msgspec.json.encode(altered), PUBLIC)


def test_another_key_an_unsigned_one_and_what_is_no_key_are_refused():
    signed = sign_checkpoint(CHECKPOINT, PRIVATE)
    for wrong, key in ((signed, pair()[1]), (msgspec.json.encode(CHECKPOINT), PUBLIC), (b"{", PUBLIC)):
        with pytest.raises(CorruptedDataError, match="signature"):
            verified_checkpoint(wrong, key)
    sealed = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    for key in (PUBLIC, b"", sealed):
        with pytest.raises(ConfigurationError, match="no private Ed25519 key"):
            sign_checkpoint(CHECKPOINT, key)
    with pytest.raises(ConfigurationError, match="no public Ed25519 key"):
        verified_checkpoint(signed, PRIVATE)


async def test_a_trail_that_was_cut_and_its_checkpoint_with_it():
    """Whoever can write both makes them agree; they cannot sign it."""
    place = MemoryAdapter()
    async with open_persistence(place, audit=AuditLog()) as persistence:
        await persistence.save("a", 1)
        before = (await persistence.verify_audit()).checkpoint
        await persistence.flush()
    async with open_persistence(place, audit=AuditLog()) as persistence:
        await persistence.save("b", 1)
    async with open_persistence(place, audit=AuditLog()) as persistence:
        report = await persistence.verify_audit()
        signed = sign_checkpoint(report.checkpoint, PRIVATE)
    async with place:
        await place.commit({batch_key(report.checkpoint.batch): None})
    async with open_persistence(place, audit=AuditLog()) as persistence:
        assert await persistence.verify_audit()
        assert not await persistence.verify_audit(checkpoint=verified_checkpoint(signed, PUBLIC))
    forged = {**msgspec.json.decode(signed), "batch": before.batch, "head": before.head}
    with pytest.raises(CorruptedDataError):
        verified_checkpoint(msgspec.json.encode(forged), PUBLIC)
