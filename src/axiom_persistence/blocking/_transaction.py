"""What the body of a blocking transaction sees."""

from __future__ import annotations

from typing import Final

from ..persistence.transaction import Transaction as _Transaction
from ._waiting import Face, waiting

__all__ = ["Transaction"]


class Transaction(Face[_Transaction]):
    """What the body of a blocking transaction sees; the same as the async one, without ``await``."""

    load: Final = waiting(_Transaction.load)
    exists: Final = waiting(_Transaction.exists)
    save: Final = waiting(_Transaction.save)
    delete: Final = waiting(_Transaction.delete)
