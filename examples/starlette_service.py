"""A web service with one declared client a user, restored at the first request and closed at shutdown.

Needs:   pip install starlette uvicorn
Run it:  python examples/starlette_service.py
         curl localhost:8000/ada
         curl -X PUT localhost:8000/ada/theme/dark     (kill -9 the service; it still knows)
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from axiom_persistence import Client, action, client_state, open_persistence


class Profile(Client):
    theme: str = client_state("light", validate=lambda theme: theme in ("light", "dark"))
    visits: int = client_state(0)

    @action
    async def visit(self) -> None:
        self.visits += 1


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with open_persistence("starlette-service") as persistence, AsyncExitStack() as live:
        profiles: dict[str, Profile] = {}
        opening = asyncio.Lock()

        async def profile_of(user: str) -> Profile:
            async with opening:  # one client a user, however many requests come at once
                if user not in profiles:
                    profiles[user] = await live.enter_async_context(Profile(persistence, instance=user))
            return profiles[user]

        app.state.profile_of = profile_of
        yield


def shown(profile: Profile) -> JSONResponse:
    return JSONResponse({"theme": profile.theme, "visits": profile.visits})


async def show(request: Request) -> JSONResponse:
    profile: Profile = await request.app.state.profile_of(request.path_params["user"])
    await profile.visit()
    return shown(profile)


async def choose(request: Request) -> JSONResponse:
    profile: Profile = await request.app.state.profile_of(request.path_params["user"])
    try:
        profile.theme = request.path_params["theme"]
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=422)
    return shown(profile)


app = Starlette(
    routes=[Route("/{user}", show), Route("/{user}/theme/{theme}", choose, methods=["PUT"])],
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
