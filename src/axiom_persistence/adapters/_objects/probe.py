"""What a server is refused for, and what a bucket holds before a store is opened there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import uuid4

import msgspec

from ...errors import (
    ConfigurationError,
    ForeignStoreError,
    SchemaTooNewError,
)
from .bucket import Bucket
from .entry import FORMAT, MARKER

__all__ = ["find_store", "is_store"]

_PROBES: Final = "probe/"
_AT_ONCE: Final = 4
_MARK: Final = msgspec.json.encode({"format": FORMAT})


def is_store(bucket: Bucket, adapter: object) -> bool:
    """Whether there is a store. Raises ``SchemaTooNewError``, ``ForeignStoreError``."""
    part = bucket.read(MARKER)
    if part is None:
        return False
    try:
        found = msgspec.json.decode(part.data, type=dict[str, int])["format"]
    except (msgspec.MsgspecError, KeyError):
        raise _foreign(bucket, adapter) from None
    if found > FORMAT:
        raise SchemaTooNewError(
            f"the store has format {found}, and this version knows {FORMAT}",
            adapter=adapter,
            hint="update axiom-persistence",
        )
    return True


def find_store(bucket: Bucket, threads: ThreadPoolExecutor, adapter: object) -> None:
    """Make the store where there is none. Raises ``ConfigurationError`` for a server that ignores conditions.

    ``threads``: several of them create the same object when a store is made, which one may.
    """
    if not is_store(bucket, adapter):
        there = [name for name in bucket.names("", 100) if not name.startswith(_PROBES)]
        if there and MARKER not in there:  # else somebody makes it in this moment
            raise _foreign(bucket, adapter)
        _race(bucket, threads, adapter)
        bucket.create(MARKER, _MARK)
    if bucket.create(MARKER, _MARK):
        raise _unconditional(bucket, adapter)


def _race(bucket: Bucket, threads: ThreadPoolExecutor, adapter: object) -> None:
    name = f"{_PROBES}{uuid4()}"
    won = list(threads.map(lambda n: bucket.create(name, b"%d" % n), range(_AT_ONCE)))
    part = bucket.read(name)
    bucket.delete([name])
    if sum(won) != 1 or part is None or part.data != b"%d" % won.index(True):
        raise _unconditional(bucket, adapter)


def _unconditional(bucket: Bucket, adapter: object) -> ConfigurationError:
    return ConfigurationError(
        f"the server creates an object though there is one of that name (it ignores "
        f"{bucket.place.vendor.condition}), so writers would overwrite each other",
        adapter=adapter,
        hint="use one that honours conditional writes: Amazon S3, Azure Blob Storage, Google Cloud Storage, "
        "Cloudflare R2, MinIO, SeaweedFS",
    )


def _foreign(bucket: Bucket, adapter: object) -> ForeignStoreError:
    return ForeignStoreError(
        "there are objects below this prefix, and they are no store of this library",
        adapter=adapter,
        hint=f"choose a prefix of its own: {bucket.place.vendor.form}",
    )
