"""``audit show``, ``verify`` and ``export``; and that no other command changes anything in silence."""

import asyncio
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from axiom_persistence import SQLiteAdapter, open_persistence
from axiom_persistence.cli import main
from axiom_persistence.security import AuditLog, actor
from axiom_persistence.security._seals import batch_key


@pytest.fixture
def where(tmp_path):
    path = str(tmp_path / "notes.db")

    async def made():
        async with open_persistence(path, audit=AuditLog(actor="notes")) as persistence:
            await persistence.save("theme", "dark")
            with actor("anna", reason="ticket 7"):
                await persistence.delete("theme")

    asyncio.run(made())
    return path


@pytest.fixture
def run(capfd):
    def running(*arguments):
        capfd.readouterr()
        code = main(list(arguments))
        return code, *capfd.readouterr()

    return running


def touch(where, change):
    async def touched():
        async with SQLiteAdapter(where) as adapter:
            await change(adapter)

    asyncio.run(touched())


def test_show_prints_a_line_or_an_object_for_each_entry(where, run):
    code, out, _ = run("audit", "show", where)
    first, second = out.splitlines()
    assert code == 0
    assert "notes  save  +theme" in first
    assert second.endswith("anna  delete  -theme  (ticket 7)")
    _, out, _ = run("audit", "show", where, "--json", "--actor", "anna")
    (entry,) = json.loads(out)
    assert (entry["operation"], entry["deleted"], entry["reason"]) == ("delete", ["theme"], "ticket 7")
    assert run("audit", "show", where, "--since", "2100-01-01")[1] == ""
    assert run("audit", "show", where, "--last", "1")[1] == second + "\n"


def test_what_the_command_line_changes_is_recorded_with_who_gave_the_command(where, run):
    assert run("set", where, "count", "1")[0] == 0
    assert run("rm", where, "count", "--yes")[0] == 0
    entries = json.loads(run("audit", "show", where, "--key", "count", "--json")[1])
    assert [entry["operation"] for entry in entries] == ["save", "delete"]
    assert all(entry["actor"] for entry in entries)
    assert run("audit", "verify", where)[0] == 0


def test_a_repair_is_recorded(where, run):
    async def damage(adapter):
        await adapter.commit({"theme": b"{}"})

    touch(where, damage)
    run("verify", where, "--repair")
    (entry,) = json.loads(run("audit", "show", where, "--key", "theme", "--json")[1])[2:]
    assert entry["reason"] == "recovery of a damaged record"


def test_export_writes_json_lines(where, run, tmp_path):
    target = tmp_path / "entries.jsonl"
    assert run("audit", "export", where, str(target))[2].strip() == "2 entries exported"
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["operation"] for line in lines] == ["save", "delete"]
    assert run("audit", "export", where)[1] == target.read_text()
    assert run("audit", "export", where, "--json")[0] == 2
    assert run("audit", "export", where, str(tmp_path / "no" / "x"))[0] == 14


def test_verify_finds_what_was_cut_with_a_checkpoint(where, run, tmp_path):
    code, out, _ = run("audit", "verify", where, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["ok"], found["entries"], found["faults"]) == (True, 2, [])
    checkpoint = tmp_path / "checkpoint.json"
    checkpoint.write_text(out)
    assert run("audit", "verify", where, "--checkpoint", str(checkpoint))[0] == 0

    async def cut(adapter):
        last = [key async for key in adapter.keys("\x01audit/sealed/")][-1]
        await adapter.commit({last: None})

    touch(where, cut)
    code, out, _ = run("audit", "verify", where, "--checkpoint", str(checkpoint))
    assert code == 3
    assert "its end was cut off" in out
    code, out, _ = run("audit", "verify", where, "--checkpoint", str(checkpoint), "--jsonl")
    assert code == 3
    assert json.loads(out.splitlines()[0])["event"] == "fault"


def test_a_checkpoint_is_signed_and_its_signature_asked_for(where, run, tmp_path):
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    code, out, _ = run("audit", "verify", where, "--sign", str(private), "--json")
    assert code == 0
    signed = tmp_path / "checkpoint.json"
    signed.write_text(out)
    given = ("audit", "verify", where, "--checkpoint", str(signed))
    assert run(*given, "--signed-by", str(public))[0] == 0
    assert run(*given)[0] == 0
    signed.write_text(out.replace('"entries": 2', '"entries": 1'))
    assert run(*given, "--signed-by", str(public))[0] not in (0, 2)
    assert run("audit", "verify", where, "--signed-by", str(public))[0] == 2
    assert run("audit", "verify", where, "--sign", str(public))[0] == 2

    async def alter(adapter):
        await adapter.commit({batch_key(0): b"{}"})

    touch(where, alter)
    code, out, _ = run("audit", "verify", where, "--sign", str(private), "--json")
    assert code == 3
    assert "signature" not in out


def test_verify_finds_what_was_altered(where, run):
    async def alter(adapter):
        key = batch_key(0)
        await adapter.commit({key: (await adapter.read(key)).replace(b"notes", b"nobody")})

    touch(where, alter)
    code, out, err = run("audit", "verify", where)
    assert code == 3
    assert "batch 0: it cannot be read" in out
    assert "1 fault found" in err


def test_mistakes_end_with_their_code(where, run, tmp_path):
    assert run("audit", "show", str(tmp_path / "no.db"))[0] == 10
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    code, _, err = run("audit", "verify", where, "--checkpoint", str(wrong))
    assert code == 2
    assert "there is no checkpoint in" in err
    plain = str(tmp_path / "plain.db")
    assert run("set", plain, "a", "1")[0] == 0
    code, _, err = run("audit", "show", plain)
    assert code == 2
    assert "keeps no audit trail" in err
