"""A place for secrets that is none, for tests."""

from __future__ import annotations

from dataclasses import replace

from ..adapters.memory import MemoryAdapter
from ..storage.adapter import Traits

__all__ = ["ConfidentialMemory"]


class ConfidentialMemory(MemoryAdapter):
    """A ``MemoryAdapter`` that says it is confidential, so that secure fields can be kept in tests.

    It protects nothing: what it holds lies in the memory of the process, as given.
    """

    @property
    def traits(self) -> Traits:
        return replace(super().traits, confidential=True)
