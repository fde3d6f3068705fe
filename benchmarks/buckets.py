"""Those that keep values in a bucket, each on a server of its own, on the disk that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .contender import Contender, Survival, Unavailable, contender
from .ours import Ours
from .values import Document

KEPT = "SeaweedFS as it comes: written, not synced, when it answers"


class InBucket(Contender):
    """With a server below the directory, stopped when it closes."""

    awaits = True
    survives = Survival("yes", "yes", "no", KEPT)

    async def open(self, directory: Path) -> None:
        try:
            from tests.support.objects import Seaweed, program
        except ImportError as error:
            raise Unavailable(
                "the server's programs are found by the tests: run it where they are"
            ) from error
        try:
            program("weed")
        except BaseException as skipped:  # pytest's own, which ends a test
            raise Unavailable(str(skipped)) from skipped
        place = directory / "server"
        place.mkdir()
        self.server = Seaweed(place).start()
        try:
            await self.connect(self.server.port)
        except BaseException:
            self.server.stop()
            raise

    async def connect(self, port: int) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        try:
            await self.disconnect()
        finally:
            self.server.stop()

    async def disconnect(self) -> None:
        """Nothing stays open."""


@contender("obstore")
class Obstore(InBucket):
    """The bare client: one object a key, one put a save."""

    async def connect(self, port: int) -> None:
        import obstore
        from obstore.store import S3Store
        from tests.support.objects import BUCKET, SECRET, USER

        self._client = obstore
        self._store = S3Store(
            BUCKET,
            endpoint=f"http://127.0.0.1:{port}",
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
class OursObjects(InBucket):
    """The whole stack."""

    async def connect(self, port: int) -> None:
        from tests.support.objects import address

        self._ours = Ours()
        self._ours.place = address(port, "ours")
        await self._ours.open(Path())
        self.save, self.load = self._ours.save, self._ours.load

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self._ours.fill(values)

    async def disconnect(self) -> None:
        await self._ours.close()
