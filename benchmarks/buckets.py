"""Those that keep values in a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from .contender import Survival, contender
from .served import KeyValueServed, OursServed, Served
from .values import Document

KEPT = "SeaweedFS as it comes: written, not synced, when it answers"


class InBucket(Served):
    survives = Survival("yes", "yes", "no", KEPT)

    def start_in(self, place: Path) -> Any:
        from tests.support.objects import Seaweed

        return Seaweed(place).start()


@contender("obstore")
class Obstore(InBucket):
    """The bare client: one object a key, one put a save."""

    async def connect(self, address: str) -> None:
        import obstore
        from obstore.store import S3Store
        from tests.support.objects import BUCKET, SECRET, USER

        self._client = obstore
        self._store = S3Store(
            BUCKET,
            endpoint=f"http://127.0.0.1:{self.server.port}",
            access_key_id=USER,
            secret_access_key=SECRET,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
        self._encode, self._decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Document).decode
        self.save, self.load = self._save, self._load

    async def _save(self, key: str, value: Any) -> None:
        await self._client.put_async(self._store, f"bare/{key}", self._encode(value))

    async def _load(self, key: str, kind: Any) -> Any:
        try:
            found = await self._client.get_async(self._store, f"bare/{key}")
        except FileNotFoundError:
            return None
        return self._decode(await found.bytes_async())


@contender("ours-objects")
class OursObjects(InBucket, OursServed):
    """The whole stack."""

    async def connect(self, address: str) -> None:
        from tests.support.objects import address as address_of

        await super().connect(address_of(self.server.port, "ours"))


@contender("kv-s3")
class KeyValueS3(InBucket, KeyValueServed):
    """py-key-value's store, over aiobotocore."""

    def store_at(self, address: str) -> Any:
        from key_value.aio.stores.s3 import S3Store
        from tests.support.objects import BUCKET, SECRET, USER

        return S3Store(
            bucket_name=BUCKET,
            endpoint_url=f"http://127.0.0.1:{self.server.port}",
            aws_access_key_id=USER,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
