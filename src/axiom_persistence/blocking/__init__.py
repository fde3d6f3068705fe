"""The same verbs without ``await``, for scripts, notebooks and GUI toolkits.

::

    from axiom_persistence.blocking import Client, client_state, open_persistence

    class Preferences(Client):
        theme: str = client_state("system")

    with open_persistence("notes") as persistence, Preferences(persistence) as preferences:
        preferences.theme = "dark"
        persistence.save("window", Window(800, 600))

What has to wait runs on one event loop in a daemon thread, begun by the first call; any thread may call.
A load that memory can answer, a save that asks for ``process_exit`` and the assignment of a field happen
on the calling thread.
"""

from ..client import AutoSave, action, client_state
from ..keys import MISSING, Key
from ..storage.adapter import Durability
from ._background import run
from ._client import Client
from ._collection import Collection
from ._mapping import PersistentMapping
from ._persistence import Persistence, open_persistence
from ._streams import Stream
from ._transaction import Transaction, TransactionCollection

__all__ = [
    "MISSING",
    "AutoSave",
    "Client",
    "Collection",
    "Durability",
    "Key",
    "Persistence",
    "PersistentMapping",
    "Stream",
    "Transaction",
    "TransactionCollection",
    "action",
    "client_state",
    "open_persistence",
    "run",
]
