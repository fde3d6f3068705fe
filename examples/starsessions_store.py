"""A store for starsessions: the sessions of a Starlette or FastAPI application outlive the server.

Needs:   pip install starsessions
Use it:  persistence = open_persistence("service")

         @asynccontextmanager
         async def lifespan(app):
             async with persistence:
                 yield

         store = PersistentStore(persistence.namespace("sessions"))
         middleware = [Middleware(SessionMiddleware, store=store, lifetime=3600, rolling=True),
                       Middleware(SessionAutoloadMiddleware)]
"""

from datetime import timedelta

from starsessions import SessionStore

from axiom_persistence import AdapterBasedPersistence, join_key


class PersistentStore(SessionStore):
    def __init__(
        self, persistence: AdapterBasedPersistence, *, unlimited: timedelta = timedelta(days=30)
    ) -> None:
        """``unlimited``: how long to keep a session that ends when the browser is closed."""
        self.persistence = persistence  # opened by the time of the first request
        self.unlimited = unlimited

    async def read(self, session_id: str, lifetime: int) -> bytes:
        return await self.persistence.load(join_key(session_id), bytes, default=b"")

    async def write(self, session_id: str, data: bytes, lifetime: int, ttl: int) -> str:
        stays = max(ttl, 1) if lifetime else self.unlimited
        await self.persistence.save(join_key(session_id), data, ttl=stays)
        return session_id

    async def remove(self, session_id: str) -> None:
        await self.persistence.delete(join_key(session_id))
