"""Stores, sessions and checkpoints of other libraries: their own code runs on them, also after a kill."""

import ast
import asyncio
import importlib
import json
import os
import subprocess
import sys
from operator import itemgetter
from pathlib import Path

import pytest

from axiom_persistence import open_persistence
from support import other_libraries
from support.example_programs import EXAMPLES, imported, run

LINES = {
    "agents_session": 60,
    "key_value_store": 60,
    "langgraph_checkpointer": 150,
    "litestar_store": 60,
    "mapping": 60,
    "starsessions_store": 60,
}


def killed(name, store):
    """What a process said when it had written something; it was ended by SIGKILL."""
    if os.name != "posix":
        pytest.skip("SIGKILL is POSIX")
    program = Path(other_libraries.__file__)
    with subprocess.Popen(
        [sys.executable, program, name, store], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            return json.loads(process.stdout.readline())
        finally:
            process.kill()


# -- what they are made of ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LINES)
def test_an_adapter_is_short(name):
    """The whole file, its introduction included, is read in a minute."""
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LINES[name]


@pytest.mark.parametrize("name", LINES)
def test_an_adapter_imports_public_names_only(name):
    """Every name comes from a public module; those of this library are in the list of what it exports."""
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if node.module.partition(".")[0] == "axiom_persistence"]
    assert ours
    for node in imports:
        names = {alias.name for alias in node.names}
        assert not [part for part in (*node.module.split("."), *names) if part.startswith("_")]
        if node in ours:
            assert node.module in ("axiom_persistence", "axiom_persistence.blocking")
            assert names <= set(importlib.import_module(node.module).__all__)


# -- py-key-value ---------------------------------------------------------------------------------------


async def test_py_key_value_keeps_entries_in_collections(tmp_path):
    """Its own base class puts, lists, expires and destroys; a new opening finds what is left."""
    pytest.importorskip("key_value.aio")
    from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper

    async with open_persistence(tmp_path / "store.db") as persistence:
        store = imported("key_value_store").PersistentStore(persistence)
        await store.put("a", {"n": 1, "list": [None, "x"]})
        await store.put_many(["a", "b/c", ""], [{"n": n} for n in range(3)], collection="other", ttl=60)
        assert await store.get("a") == {"n": 1, "list": [None, "x"]}
        assert await store.ttl("a") == ({"n": 1, "list": [None, "x"]}, None)
        assert await store.get_many(["b/c", "x", ""], collection="other") == [{"n": 1}, None, {"n": 2}]
        value, ttl = await store.ttl("", collection="other")
        assert value == {"n": 2}
        assert 0 < ttl <= 60
        assert sorted(await store.keys("other")) == ["", "a", "b/c"]
        assert len(await store.keys("other", limit=2)) == 2
        assert await store.collections() == ["default_collection", "other"]
        assert await store.delete_many(["a", "x"], collection="other") == 1
        assert (await store.delete("a"), await store.delete("a")) == (True, False)
        await PrefixKeysWrapper(store, prefix="p").put("a", {"n": 9}, collection="third")
    async with open_persistence(tmp_path / "store.db") as persistence:
        store = imported("key_value_store").PersistentStore(persistence)
        assert sorted(await store.keys("other")) == ["", "b/c"]
        assert await store.destroy_collection("other")
        assert await store.collections() == ["third"]
        assert await PrefixKeysWrapper(store, prefix="p").get("a", collection="third") == {"n": 9}
        assert await store.destroy()
        assert await store.collections() == []


async def test_py_key_value_forgets_what_has_expired(persistence, pass_time):
    """After its time an entry is neither found nor listed; the others stay."""
    pytest.importorskip("key_value.aio")
    store = imported("key_value_store").PersistentStore(persistence)
    await store.put_many(["a", "b"], [{}, {}], ttl=60)
    await store.put("c", {}, ttl=600)
    await store.put("d", {}, ttl=1e-9)  # over before it is stored
    pass_time(61)
    assert await store.get_many(["a", "b", "c"]) == [None, None, {}]
    assert await store.keys() == ["c"]
    assert not await store.delete("a")


async def test_py_key_value_finds_its_entries_after_a_kill(tmp_path):
    """What was put before SIGKILL is there, with the time it has left."""
    pytest.importorskip("key_value.aio")
    killed("key_value", tmp_path / "store.db")
    async with open_persistence(tmp_path / "store.db") as persistence:
        store = imported("key_value_store").PersistentStore(persistence)
        found = await store.ttl_many(["ada", "a/b"], collection="users")
        assert [value for value, _ in found] == [{"theme": "dark"}, {}]
        assert all(0 < ttl <= 3600 for _, ttl in found)


# -- Litestar -------------------------------------------------------------------------------------------


async def test_litestar_keeps_values_in_namespaces(tmp_path):
    """A namespace is apart from its parent, and emptied with it; reading renews what expires."""
    pytest.importorskip("litestar")
    async with open_persistence(tmp_path / "store.db") as persistence:
        store = imported("litestar_store").PersistentStore(persistence)
        child = store.with_namespace("child")
        await store.set("child/a", "text", expires_in=60)
        await child.set("a", b"\x00bytes")
        assert await store.get("child/a") == b"text"
        assert await child.get("a", renew_for=60) == b"\x00bytes"
        assert await child.expires_in("a") is None
        assert 50 < await store.expires_in("child/a") <= 60
        await store.get("child/a", renew_for=3600)
        assert await store.expires_in("child/a") > 60
        await store.set("b", b"")
        assert (await store.exists("b"), await child.exists("b")) == (True, False)
        await store.delete("b")
        await store.delete("b")
        await child.delete_all()
        assert (await child.exists("a"), await store.exists("child/a")) == (False, True)
        await child.set("a", "again")
        await store.delete_all()
        assert (await child.exists("a"), await store.exists("child/a")) == (False, False)


async def test_litestar_knows_sessions_and_limits_after_a_kill(tmp_path):
    """The session goes on where it was, and a limit of two a day has one left."""
    pytest.importorskip("litestar")
    cookies = killed("litestar", tmp_path / "store.db")
    async with other_libraries.litestar_client(tmp_path / "store.db", cookies=cookies) as client:
        assert (await client.get("/")).json() == 4
        assert [(await client.get("/rare")).status_code for _ in range(2)] == [200, 429]
    async with other_libraries.litestar_client(tmp_path / "store.db") as client:
        assert (await client.get("/")).json() == 1


# -- starsessions ---------------------------------------------------------------------------------------


async def test_starsessions_knows_its_sessions_after_a_kill(tmp_path):
    """A cookie leads to its session, until the visitor leaves."""
    pytest.importorskip("starsessions")
    cookies = killed("starsessions", tmp_path / "store.db")
    store = tmp_path / "store.db"
    async with other_libraries.starlette_client(store, cookies=cookies, lifetime=3600) as (client, sessions):
        assert (await client.get("/")).json() == 4
        assert await sessions.expires_at(cookies["session"]) is not None
        assert (await client.get("/leave")).json() == "gone"
        assert await sessions.count() == 0


async def test_starsessions_keeps_a_session_without_a_lifetime(tmp_path):
    """A session that ends with the browser is kept for a while, since nobody tells of that end."""
    pytest.importorskip("starsessions")
    async with other_libraries.starlette_client(tmp_path / "store.db") as (client, sessions):
        assert [(await client.get("/")).json() for _ in range(2)] == [1, 2]
        assert await sessions.expires_at(client.cookies["session"]) is not None


# -- the Agents SDK -------------------------------------------------------------------------------------


async def test_an_agent_remembers_the_conversation_after_a_kill(tmp_path):
    """The runner gives the model what was said before SIGKILL, and nothing of another session."""
    pytest.importorskip("agents")
    killed("agents", tmp_path / "store.db")
    async with open_persistence(tmp_path / "store.db") as persistence:
        kind = imported("agents_session").PersistentSession
        assert await other_libraries.ask(kind(persistence, "ada/1"), "and now?") == "5 items"
        assert await other_libraries.ask(kind(persistence, "bob"), "and now?") == "1 items"


async def test_a_session_holds_items_in_order(tmp_path):
    """The last ones, the whole, one taken back, all forgotten; adders at once lose nothing."""
    agents = pytest.importorskip("agents")
    async with open_persistence(tmp_path / "store.db") as persistence:
        session = imported("agents_session").PersistentSession(persistence, "ada")
        assert isinstance(session, agents.Session)
        assert (await session.get_items(), await session.pop_item()) == ([], None)
        items = [{"role": "user", "content": str(n)} for n in range(12)]
        await session.add_items(items[:5])
        await session.add_items(items[5:])
        assert await session.get_items() == items
        assert await session.get_items(limit=3) == items[-3:]
        settings = agents.SessionSettings(limit=2)
        limited = imported("agents_session").PersistentSession(persistence, "ada", settings)
        assert await limited.get_items() == items[-2:]
        assert await session.pop_item() == items[-1]
        await session.add_items([items[0]])
        assert await session.get_items(2) == [items[10], items[0]]
        await session.clear_session()
        assert await session.get_items() == []
        pairs = [[{"n": n, "half": half} for half in range(2)] for n in range(8)]
        await asyncio.gather(*(session.add_items(pair) for pair in pairs))
        together = await session.get_items()
        assert sorted(together, key=itemgetter("n")) == [item for pair in pairs for item in pair]
        popped = await asyncio.gather(*(session.pop_item() for _ in range(16)))
        assert sorted(popped, key=itemgetter("n", "half")) == [item for pair in pairs for item in pair]


# -- LangGraph ------------------------------------------------------------------------------------------


async def test_the_checkpointer_passes_the_suite_of_langgraph(tmp_path):
    """LangGraph's own conformance tests for checkpointers, all that every checkpointer has to pass."""
    pytest.importorskip("langgraph.checkpoint.conformance")
    from langgraph.checkpoint.conformance.capabilities import BASE_CAPABILITIES
    from langgraph.checkpoint.conformance.initializer import checkpointer_test
    from langgraph.checkpoint.conformance.validate import validate

    @checkpointer_test(name="PersistentSaver")
    async def savers():
        async with open_persistence(tmp_path / "store.db") as persistence:
            await persistence.delete_prefix("")
            yield imported("langgraph_checkpointer").PersistentSaver(persistence)

    report = await validate(savers, capabilities={each.value for each in BASE_CAPABILITIES})
    assert [failure for result in report.results.values() for failure in result.failures] == []
    assert {name for name, result in report.results.items() if result.passed} == {
        each.value for each in BASE_CAPABILITIES
    }
    assert sum(result.tests_passed for result in report.results.values()) >= 50


async def test_a_graph_goes_on_where_it_was_killed(tmp_path):
    """The step that was done is not done again; the history is whole, and can be gone back to."""
    pytest.importorskip("langgraph.graph")
    assert killed("langgraph", tmp_path / "store.db") == 2

    async def second(talk):
        return {"said": [f"second after {len(talk['said'])}"]}

    said = ["hello", "first after 1", "second after 2"]
    thread = other_libraries.THREAD
    async with open_persistence(tmp_path / "store.db") as persistence:
        saver = imported("langgraph_checkpointer").PersistentSaver(persistence)
        graph = other_libraries.graph(saver, second)
        assert (await graph.aget_state(thread)).next == ("second",)
        assert await graph.ainvoke(None, thread) == {"said": said}
    async with open_persistence(tmp_path / "store.db") as persistence:
        saver = imported("langgraph_checkpointer").PersistentSaver(persistence)
        graph = other_libraries.graph(saver, second)
        history = [state async for state in graph.aget_state_history(thread)]
        assert [state.values["said"] for state in history] == [said, said[:2], said[:1], []]
        page = [state async for state in graph.aget_state_history(thread, before=history[0].config, limit=2)]
        assert [state.config for state in page] == [state.config for state in history[1:3]]
        forked = await graph.aupdate_state(history[1].config, {"said": ["another"]}, as_node="first")
        assert (await graph.ainvoke(None, forked))["said"] == [*said[:2], "another", "second after 3"]
        other = {"configurable": {"thread_id": "ada"}}
        assert (await graph.aget_state(other)).values == {}
        await saver.adelete_thread("ada/1")
        assert await persistence.count() == 0


async def test_a_task_that_was_done_is_not_done_again(tmp_path):
    """Of two tasks of a step one fails. After a new opening only that one runs; the first answer counts."""
    pytest.importorskip("langgraph.graph")
    from langgraph.graph import START, StateGraph

    ran = []

    def left(talk):
        ran.append("left")
        return {"said": ["left"]}

    def right(talk):
        ran.append("right")
        if ran.count("right") == 1:
            raise OSError("unplugged")
        return {"said": ["right"]}

    builder = StateGraph(other_libraries.Talk)
    for node in (left, right):
        builder.add_node(node)
        builder.add_edge(START, node.__name__)
    thread = other_libraries.THREAD
    async with open_persistence(tmp_path / "store.db") as persistence:
        graph = builder.compile(checkpointer=imported("langgraph_checkpointer").PersistentSaver(persistence))
        with pytest.raises(OSError, match="unplugged"):
            await graph.ainvoke({"said": []}, thread)
    async with open_persistence(tmp_path / "store.db") as persistence:
        saver = imported("langgraph_checkpointer").PersistentSaver(persistence)
        asked = await saver.aget_tuple(thread)
        task = next(task for task, channel, _ in asked.pending_writes if channel == "said")
        await saver.aput_writes(asked.config, [("said", ["other"])], task)
        graph = builder.compile(checkpointer=saver)
        assert await graph.ainvoke(None, thread) == {"said": ["left", "right"]}
    assert sorted(ran) == ["left", "right", "right"]


def test_a_plain_graph_keeps_an_interrupt(tmp_path):
    """Without an event loop: a question is asked, and answered after everything was closed."""
    pytest.importorskip("langgraph.graph")
    from langgraph.types import Command, interrupt

    from axiom_persistence import blocking

    def second(talk):
        return {"said": [interrupt("how are you?")]}

    thread = other_libraries.THREAD
    for step in range(2):
        with blocking.open_persistence(tmp_path / "store.db") as persistence:
            saver = imported("langgraph_checkpointer").PersistentSaver(persistence.inner)
            graph = other_libraries.graph(saver, second)
            if step == 0:
                asked = graph.invoke({"said": []}, thread)["__interrupt__"]
                assert [question.value for question in asked] == ["how are you?"]
            else:
                assert graph.invoke(Command(resume="well"), thread) == {"said": ["first after 0", "well"]}
                assert len(list(graph.get_state_history(thread))) == 4
                saver.delete_thread("ada/1")
                assert graph.get_state(thread).values == {}


# -- a dict ---------------------------------------------------------------------------------------------


def test_what_code_that_knows_dicts_only_has_changed_is_kept(tmp_path):
    """Settings of one process are there in the next."""
    assert run("mapping.py", home=tmp_path) == (0, "", "")
    run("mapping.py", "theme", "dark", "size", "3", home=tmp_path)
    assert run("mapping.py", "size", "4", home=tmp_path) == (0, "size = 4\ntheme = dark\n", "")
