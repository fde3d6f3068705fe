"""A store that acknowledges what it never writes."""

from axiom_persistence.adapters.sqlite import SQLiteAdapter


class Forgetful(SQLiteAdapter):
    async def commit(self, changes, *, expect=None, durability=None):
        if set(changes) == {"counted/0"}:
            return {"counted/0": "forgotten"}
        return await super().commit(changes, expect=expect, durability=durability)
