"""Declared state that keeps itself: clients, their fields, and what drives them."""

from ..errors import ClientsFailedError, ValidationError
from ._auto_save import AutoSave, Clock
from ._ends import save_on_signals
from ._fields import client_state
from ._lifecycle import ClientPhase, Persistable, RestoreReport
from ._stream import ClientUpdate
from ._transaction import action
from .client import Client
from .manager import ClientManager

__all__ = [
    "AutoSave",
    "Client",
    "ClientManager",
    "ClientPhase",
    "ClientUpdate",
    "ClientsFailedError",
    "Clock",
    "Persistable",
    "RestoreReport",
    "ValidationError",
    "action",
    "client_state",
    "save_on_signals",
]
