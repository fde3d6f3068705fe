"""XAES-256-GCM against its published vectors, and what it refuses."""

import hashlib

import pytest

from axiom_persistence.errors import ConfigurationError
from axiom_persistence.security import cipher
from axiom_persistence.security.cipher import Cipher, WrongKeyError, new_key

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"


@pytest.mark.parametrize(
    ("key", "bound", "sealed"),
    [
        (b"\1" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (b"\3" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
    ids=["the first bit of L is 0", "the first bit of L is 1"],
)
def test_the_published_vectors(key, bound, sealed, monkeypatch):
    """The two vectors of c2sp.org/XAES-256-GCM, in both directions."""
    halves = iter((NONCE[:12], NONCE[12:]))
    monkeypatch.setattr(cipher.os, "urandom", lambda size: next(halves))
    made = Cipher(key)
    assert made.seal(b"XAES-256-GCM", bound) == NONCE + bytes.fromhex(sealed)
    assert made.open(NONCE + bytes.fromhex(sealed), bound) == b"XAES-256-GCM"


def test_what_plain_aes_gcm_seals_under_the_derived_key_opens():
    """For a hundred keys and nonces out of SHAKE128."""
    stream = hashlib.shake_128(b"").digest(100 * 56)
    for step in range(100):
        part = stream[step * 56 : (step + 1) * 56]
        key, nonce = part[:32], part[32:]
        derived = cipher._derivation(key)(nonce[:12])
        assert Cipher(key).open(nonce + cipher.AESGCM(derived).encrypt(nonce[12:], part, key), key) == part


def test_every_nonce_differs_and_every_sealing_opens():
    """Ten thousand times the same value under one key: no two alike."""
    made, other = Cipher(b"k" * 32), Cipher(b"k" * 32)
    sealed = {made.seal(b"value", b"bound") for _ in range(10_000)}
    assert len({each[:24] for each in sealed}) == 10_000
    assert {other.open(each, b"bound") for each in list(sealed)[:100]} == {b"value"}


def test_a_prefix_is_changed_before_its_nonces_may_repeat(monkeypatch):
    """After as many records as one derived key may seal, another key is derived."""
    monkeypatch.setattr(cipher, "_SEALED_PER_PREFIX", 3)
    made = Cipher(new_key())
    prefixes = [made.seal(b"", b"")[:12] for _ in range(9)]
    assert [prefixes.count(prefix) for prefix in dict.fromkeys(prefixes)] == [3, 3, 3]


def test_whatever_is_altered_does_not_open():
    """Each byte, each length, another bound, another key."""
    made = Cipher(b"k" * 32)
    sealed = made.seal(b"some value", b"bound")
    broken = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    for wrong in (*broken, *(sealed[:i] for i in range(len(sealed))), sealed + b"\0"):
        with pytest.raises(WrongKeyError):
            made.open(wrong, b"bound")
    for bound, other in ((b"Bound", made), (b"", made), (b"bound", Cipher(b"K" * 32))):
        with pytest.raises(WrongKeyError):
            other.open(sealed, bound)
    assert made.open(sealed, b"bound") == b"some value"


def test_a_key_of_another_size_is_refused_and_none_is_shown():
    """A short key is a mistake, and no repr prints one."""
    with pytest.raises(ConfigurationError, match="32 bytes, not 16"):
        Cipher(b"k" * 16)
    assert repr(Cipher(b"k" * 32)) == "Cipher(<secret>)"
