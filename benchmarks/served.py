"""Those that keep values on a server: each has one of its own, on the disk that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .contender import Contender, Unavailable
from .ours import Ours
from .peers import KeyValue

__all__ = ["KeyValueServed", "OursServed", "Served"]


class Served(Contender):
    """With a server below the directory, stopped when it closes."""

    awaits = True

    def start_in(self, place: Path) -> Any:
        """A server whose files are in ``place``, as the tests start it, who skip where there is none."""
        raise NotImplementedError

    async def connect(self, address: str) -> None:
        """Be ready to save on the server at ``address``."""
        raise NotImplementedError

    async def disconnect(self) -> None:
        """Nothing stays open, unless a class below has something."""

    async def open(self, directory: Path) -> None:
        place = directory / "server"
        place.mkdir()
        try:
            import pytest

            self.server = self.start_in(place)
        except ImportError as error:
            raise Unavailable(
                "the server's programs are found by the tests: run it where they are"
            ) from error
        except pytest.skip.Exception as skipped:
            raise Unavailable(str(skipped)) from skipped
        try:
            await self.connect(self.server.address)
        except BaseException:
            self.server.stop()
            raise

    async def close(self) -> None:
        try:
            await self.disconnect()
        finally:
            self.server.stop()


class OursServed(Served):
    """The whole stack."""

    async def connect(self, address: str) -> None:
        self._ours = Ours()
        self._ours.place = address
        await self._ours.open(Path())
        self.save, self.load = self._ours.save, self._ours.load

    async def fill(self, values: Mapping[str, Any]) -> None:
        await self._ours.fill(values)

    async def disconnect(self) -> None:
        await self._ours.close()


class KeyValueServed(Served, KeyValue):
    """py-key-value's store of the server."""

    def store_at(self, address: str) -> Any:
        raise NotImplementedError

    async def connect(self, address: str) -> None:
        self.begin(self.store_at(address))

    async def disconnect(self) -> None:
        await KeyValue.close(self)
