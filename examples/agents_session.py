"""A session for the OpenAI Agents SDK: the conversation stays, and several processes may add to it.

Needs:   pip install openai-agents
Use it:  async with open_persistence("agent") as persistence:
             await Runner.run(agent, "Hello", session=PersistentSession(persistence, "ada"))
"""

from typing import Any

from agents import SessionSettings, TResponseInputItem

from axiom_persistence import AdapterBasedPersistence, Key

NEXT = Key("next", int, default=0)


class PersistentSession:
    """The items by number. Numbers only grow, so they are in order, and no two adders take the same."""

    def __init__(
        self, persistence: AdapterBasedPersistence, session_id: str, settings: SessionSettings | None = None
    ) -> None:
        self.session_id = session_id
        self.session_settings = settings
        self.place = persistence.namespace("sessions").namespace(session_id)

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        newest = [key async for key in self.place.keys("items/", reverse=True, limit=limit)]
        found: Any = await self.place.load_many(newest, dict[str, Any])
        return [found[key] for key in reversed(newest) if key in found]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        async def add(tx: Any) -> None:
            end = await tx.update(NEXT, lambda number: number + len(items))
            await tx.save_many({f"items/{n:015}": item for n, item in enumerate(items, end - len(items))})

        await self.place.run_transaction(add)

    async def pop_item(self) -> TResponseInputItem | None:
        async def pop(tx: Any) -> Any:
            newest = [key async for key in tx.keys("items/", reverse=True, limit=1)]
            found = await tx.load_many(newest, dict[str, Any])
            await tx.delete_many(newest)
            return next(iter(found.values()), None)

        return await self.place.run_transaction(pop)

    async def clear_session(self) -> None:
        await self.place.delete_prefix("items/")
