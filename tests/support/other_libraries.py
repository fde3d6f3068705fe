"""Programs of other libraries that keep their state by way of an example.

As a process, ``python other_libraries.py NAME STORE`` writes something, says what it has to know of it
again, and waits to be killed.
"""

import asyncio
import json
import operator
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

sys.path.insert(0, str(Path(__file__).parents[1]))

from axiom_persistence import open_persistence
from support.example_programs import imported

# -- Litestar: an application with sessions and a rate limit -------------------------------------------


@asynccontextmanager
async def litestar_client(store, *, cookies=None):
    """A client of a counting application, begun and ended as a server does it."""
    from litestar import Litestar, Request, get
    from litestar.middleware.rate_limit import RateLimitConfig
    from litestar.middleware.session.server_side import ServerSideSessionConfig
    from litestar.stores.registry import StoreRegistry
    from litestar.testing import AsyncTestClient

    @get("/")
    async def visit(request: Request[Any, Any, Any]) -> int:
        visits = request.session.get("visits", 0) + 1
        request.set_session({"visits": visits})
        return visits

    @get("/rare", middleware=[RateLimitConfig(("day", 2)).middleware])
    async def rare() -> str:
        return "seldom"

    persistence = open_persistence(store)

    @asynccontextmanager
    async def opened(app):
        async with persistence:
            yield

    app = Litestar(
        [visit, rare],
        lifespan=[opened],
        middleware=[ServerSideSessionConfig(max_age=3600, renew_on_access=True).middleware],
        stores=StoreRegistry(
            default_factory=imported("litestar_store").PersistentStore(persistence).with_namespace
        ),
    )
    async with AsyncTestClient(app, cookies=cookies) as client:
        yield client


async def litestar(store):
    async with litestar_client(store) as client:
        assert [(await client.get("/")).json() for _ in range(3)] == [1, 2, 3]
        await client.get("/rare")
        await say(dict(client.cookies))


# -- starsessions: a Starlette application --------------------------------------------------------------


@asynccontextmanager
async def starlette_client(store, *, cookies=None, **session):
    """A client of a counting application, and the store its sessions are in."""
    import httpx
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from starsessions import SessionAutoloadMiddleware, SessionMiddleware

    async def visit(request):
        request.session["visits"] = request.session.get("visits", 0) + 1
        return JSONResponse(request.session["visits"])

    async def leave(request):
        request.session.clear()
        return JSONResponse("gone")

    async with open_persistence(store) as persistence:
        sessions = persistence.namespace("sessions")
        kept = imported("starsessions_store").PersistentStore(sessions)
        app = Starlette(
            routes=[Route("/", visit), Route("/leave", leave)],
            middleware=[
                Middleware(SessionMiddleware, store=kept, **session),
                Middleware(SessionAutoloadMiddleware),
            ],
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="https://service", cookies=cookies
        ) as client:
            yield client, sessions


async def starsessions(store):
    async with starlette_client(store, lifetime=3600) as (client, _):
        assert [(await client.get("/")).json() for _ in range(3)] == [1, 2, 3]
        await say(dict(client.cookies))


# -- LangGraph: two nodes, one after the other ----------------------------------------------------------

THREAD = {"configurable": {"thread_id": "ada/1"}}


class Talk(TypedDict):
    said: Annotated[list[str], operator.add]


def graph(saver, second):
    """A graph of two nodes that add a word each; the second one is given."""
    from langgraph.graph import START, StateGraph

    def first(talk: Talk) -> dict[str, Any]:
        return {"said": [f"first after {len(talk['said'])}"]}

    builder = StateGraph(Talk)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    return builder.compile(checkpointer=saver)


async def langgraph(store):
    async def killed_in_here(talk: Talk) -> dict[str, Any]:
        await say(len(talk["said"]))
        return {}

    async with open_persistence(store) as persistence:
        saver = imported("langgraph_checkpointer").PersistentSaver(persistence)
        await graph(saver, killed_in_here).ainvoke({"said": ["hello"]}, THREAD, durability="sync")


# -- the Agents SDK: an agent whose model needs no network ----------------------------------------------


def agent():
    """An agent that answers with the number of items it was given."""
    from agents import Agent, Model, ModelResponse, Usage
    from openai.types.responses import ResponseOutputMessage, ResponseOutputText

    class Counting(Model):
        async def get_response(self, system_instructions, input, *rest, **named):
            text = ResponseOutputText(text=f"{len(input)} items", type="output_text", annotations=[])
            message = ResponseOutputMessage(
                id="m", content=[text], role="assistant", status="completed", type="message"
            )
            return ModelResponse(output=[message], usage=Usage(), response_id=None)

        async def stream_response(self, *arguments, **named):
            raise NotImplementedError("nobody streams here")
            yield

    return Agent(name="counter", model=Counting())


async def ask(session, question):
    """What the agent answers in a session."""
    from agents import RunConfig, Runner

    done = await Runner.run(agent(), question, session=session, run_config=RunConfig(tracing_disabled=True))
    return done.final_output


async def agents(store):
    async with open_persistence(store) as persistence:
        session = imported("agents_session").PersistentSession(persistence, "ada/1")
        assert [await ask(session, f"question {n}") for n in range(2)] == ["1 items", "3 items"]
        await say("asked")


# -- py-key-value ---------------------------------------------------------------------------------------


async def key_value(store):
    async with open_persistence(store) as persistence:
        kept = imported("key_value_store").PersistentStore(persistence)
        await kept.put_many(["ada", "a/b"], [{"theme": "dark"}, {}], collection="users", ttl=3600)
        await say("put")


async def say(what):
    """Tell the one who waits, and wait for the kill."""
    print(json.dumps(what), flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](sys.argv[2]))
