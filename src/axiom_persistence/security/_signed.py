"""A checkpoint of an audit trail with a signature: it may lie where others can write, and stays what it was.

Signed with Ed25519, so that whoever verifies a trail needs no secret.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final

import msgspec

from ..errors import ConfigurationError, CorruptedDataError
from ._seals import Checkpoint

__all__ = ["sign_checkpoint", "verified_checkpoint"]

_PURPOSE: Final = "axiom-persistence checkpoint"
_TWO_KEYS: Final = (
    "`openssl genpkey -algorithm ed25519 -out private.pem` makes the private key, "
    "`openssl pkey -in private.pem -pubout -out public.pem` the public one"
)


class _Signed(Checkpoint, frozen=True):
    signature: str
    """In base64."""


def _message(checkpoint: Checkpoint) -> bytes:
    said = f"{checkpoint.trail} {checkpoint.batch} {checkpoint.entries} {checkpoint.head}"
    return f"{_PURPOSE}\n{said}".encode()


def _loaded(load: Callable[[], object]) -> object:
    try:
        return load()
    except (ValueError, TypeError):  # no PEM, or one with a passphrase
        return None


def _no_key(which: str) -> ConfigurationError:
    return ConfigurationError(
        f"this is no {which} Ed25519 key in PEM without a passphrase",
        hint=_TWO_KEYS,
    )


def sign_checkpoint(checkpoint: Checkpoint, private_key: bytes) -> bytes:
    """``checkpoint`` as JSON that only the holder of ``private_key`` (Ed25519, PEM) can have written.

    Raises ``ConfigurationError`` for what is no such key, ``ImportError`` without the extra ``encryption``.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = _loaded(lambda: load_pem_private_key(private_key, None))
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key("private")
    signature = base64.b64encode(key.sign(_message(checkpoint))).decode()
    return msgspec.json.encode(_Signed(**msgspec.structs.asdict(checkpoint), signature=signature))


def verified_checkpoint(signed: bytes, public_key: bytes) -> Checkpoint:
    """The checkpoint in what ``sign_checkpoint`` wrote, if it is signed with the key of ``public_key`` (PEM).

    Raises ``CorruptedDataError`` where it is not, or was altered; ``ConfigurationError`` for what is no key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _loaded(lambda: load_pem_public_key(public_key))
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key("public")
    try:
        found = msgspec.json.decode(signed, type=_Signed)
        checkpoint = Checkpoint(found.trail, found.batch, found.entries, found.head)
        key.verify(base64.b64decode(found.signature, validate=True), _message(checkpoint))
    except (msgspec.MsgspecError, binascii.Error, UnicodeError, InvalidSignature):
        raise CorruptedDataError(
            "the signature of the checkpoint is missing or wrong",
            hint="it was altered, or signed with another key: take a copy that is whole, and its public key",
        ) from None
    return checkpoint
