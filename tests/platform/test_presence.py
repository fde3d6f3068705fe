"""Fingerprints and polkit on the real services, on a private bus with libfprint's virtual reader."""

import asyncio
import json
import subprocess
import sys
import time

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.errors import AuthenticationError, ConfigurationError
from axiom_persistence.security import FingerprintAuthenticator, Gate, PolkitAuthenticator
from support.system_bus import REASON, UNUSABLE, SystemBus

pytest.importorskip("jeepney")
pytestmark = pytest.mark.skipif(UNUSABLE, reason=REASON)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """The bus with polkit, and fprintd, which knows one finger."""
    bus = SystemBus(tmp_path_factory.mktemp("system"))
    try:
        bus.start_polkit()
        bus.start_fprintd()
        bus.enroll("finger-1")
        yield bus
    finally:
        bus.close()


@pytest.fixture
def bus(services, monkeypatch):
    """That bus, in the environment of this test."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", services.environment["DBUS_SYSTEM_BUS_ADDRESS"])
    if "fprintd" not in services.programs:
        services.start_fprintd()
    return services


async def scanned(bus, *commands, authenticator=None):
    """How a question ends at whose reader this happens."""
    asking = asyncio.ensure_future(
        (authenticator or FingerprintAuthenticator()).authenticate("open the notes")
    )
    try:
        for command in commands:
            await at_the_reader(bus, asking, command)
        await asyncio.wait_for(asking, 60)
    except AuthenticationError as error:
        return error.outcome, str(error)
    finally:
        asking.cancel()
    return "granted", ""


async def at_the_reader(bus, asking, command):
    """Say it once the reader waits for a finger: nothing is scanned before that."""
    while not asking.done():
        with bus.connected() as bus.desk:
            waits = bus.ask_property("finger-needed")
        if waits:
            bus.say(command)
            until = time.monotonic() + 3  # it may wait for the next finger again before anybody looks
            while not asking.done() and command.startswith("SCAN") and time.monotonic() < until:
                with bus.connected() as bus.desk:
                    if not bus.ask_property("finger-needed"):
                        return
                await asyncio.sleep(0.01)
            return
        await asyncio.sleep(0.01)


async def test_a_known_finger(bus):
    """One touch is enough; the reader is free again after it, for the next one."""
    assert await FingerprintAuthenticator().can_authenticate()
    for _ in range(3):
        assert (await scanned(bus, "SCAN finger-1"))[0] == "granted"


async def test_an_unknown_finger(bus):
    """Three of them are a no; a known one after an unknown one is a yes."""
    outcome, said = await scanned(bus, *["SCAN other"] * 3)
    assert (outcome, "not one of this user's" in said) == ("denied", True)
    assert (await scanned(bus, "SCAN other", "SCAN finger-1"))[0] == "granted"
    strict = FingerprintAuthenticator(tries=1)
    assert (await scanned(bus, "SCAN other", authenticator=strict))[0] == "denied"


async def test_a_touch_that_was_not_read_is_tried_again(bus):
    """Too short, too far from the middle: they do not count."""
    strict = FingerprintAuthenticator(tries=1)
    commands = ["RETRY 1", "RETRY 2", "RETRY 3", "SCAN finger-1"]
    assert (await scanned(bus, *commands, authenticator=strict))[0] == "granted"


async def test_a_reader_that_fails(bus):
    """Told as that, and not as an unknown finger; unplugged meanwhile, too."""
    assert (await scanned(bus, "ERROR 0"))[0] == "unavailable"
    assert (await scanned(bus, "SCAN finger-1"))[0] == "granted"
    outcome, said = await scanned(bus, "UNPLUG")
    bus.stop("fprintd")
    assert (outcome, "the fingerprint reader failed" in said) == ("unavailable", True)


async def test_no_reader_no_print_no_service_no_bus(bus, monkeypatch, tmp_path):
    """Each is said, with what to do; nobody can be asked then."""

    async def unavailable():
        assert not await FingerprintAuthenticator().can_authenticate()
        outcome, said = await scanned(bus)
        assert outcome == "unavailable"
        return said

    bus.stop("fprintd")
    assert "fingerprint service cannot be used" in await unavailable()
    bus.start_fprintd(reader=False)
    assert "there is no fingerprint reader" in await unavailable()
    bus.stop("fprintd")
    bus.start_fprintd(state=tmp_path)
    assert "no finger of this user is known" in await unavailable()
    bus.stop("fprintd")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    assert "the system bus cannot be reached" in await unavailable()
    assert not await PolkitAuthenticator("a.b").can_authenticate()


async def test_another_program_has_the_reader(bus):
    """Said, and nothing is taken from it."""
    with bus.connected() as bus.desk:
        bus.ask("Claim", "s", "")
        desk, bus.desk = bus.desk, None
        outcome, said = await scanned(bus)
        assert (outcome, "another program uses" in said) == ("unavailable", True)
        bus.desk = desk
        bus.ask("Release")


async def test_cancelled_and_not_answered(bus):
    """The question is taken back, and the reader is free at once; nobody there in time is the same."""
    for _ in range(3):
        asking = asyncio.ensure_future(FingerprintAuthenticator().authenticate(""))
        await waits_for_a_finger(bus)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    outcome, said = await scanned(bus, authenticator=FingerprintAuthenticator(timeout=0.2))
    assert (outcome, "nobody touched the reader" in said) == ("cancelled", True)
    assert (await scanned(bus, "SCAN finger-1"))[0] == "granted"


async def waits_for_a_finger(bus):
    waits = False
    while not waits:
        with bus.connected() as bus.desk:
            waits = bus.ask_property("finger-needed")
        await asyncio.sleep(0.01)


async def test_a_signal_of_another_program_opens_nothing(bus):
    """Anybody on the bus may send a signal that looks like fprintd's, to all or to us."""
    from jeepney import DBusAddress, HeaderFields, new_signal

    asking = asyncio.ensure_future(FingerprintAuthenticator(timeout=3).authenticate(""))
    await waits_for_a_finger(bus)
    device = DBusAddress("/net/reactivated/Fprint/Device/0", interface="net.reactivated.Fprint.Device")
    with bus.connected() as forger:
        number = int(forger.unique_name.rpartition(".")[2])
        for receiver in (None, *(f":1.{n}" for n in range(number))):
            message = new_signal(device, "VerifyStatus", "sb", ("verify-match", True))
            if receiver:
                message.header.fields[HeaderFields.destination] = receiver
            forger.send(message)
    with pytest.raises(AuthenticationError, match="nobody touched"):
        await asking


async def test_a_store_behind_a_finger(bus, tmp_path):
    """The whole way: refused, then opened, for as long as the grace lasts."""
    gate = Gate(FingerprintAuthenticator(tries=1), grace=3600)
    async with open_persistence(tmp_path / "a.db", guard=gate) as persistence:
        loading = asyncio.ensure_future(persistence.save("k", "v"))
        await at_the_reader(bus, loading, "SCAN other")
        with pytest.raises(AuthenticationError):
            await loading
        loading = asyncio.ensure_future(persistence.save("k", "v"))
        await at_the_reader(bus, loading, "SCAN finger-1")
        await loading
        assert await persistence.load("k", str) == "v"


AS_NOBODY = """
import asyncio, json, os, sys, threading

from axiom_persistence.errors import AuthenticationError
from axiom_persistence.security import FingerprintAuthenticator, Gate, PolkitAuthenticator
from jeepney import DBusAddress, MessageType, new_error, new_method_call
from jeepney.io.blocking import open_dbus_connection
from jeepney.wrappers import unwrap_msg

AUTHORITY = DBusAddress(
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1",
    "org.freedesktop.PolicyKit1.Authority",
)

def become_an_agent(answers):
    # The program that asks the person, for this process alone; it closes each question, or never answers.
    agent = open_dbus_connection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
    started = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
    subject = ("unix-process", {"pid": ("u", os.getpid()), "start-time": ("t", started)})
    call = new_method_call(AUTHORITY, "RegisterAuthenticationAgent", "(sa{sv})ss", (subject, "C", "/agent"))
    unwrap_msg(agent.send_and_get_reply(call))

    def work():
        while True:
            message = agent.receive()
            if message.header.message_type is not MessageType.method_call:
                continue
            name = message.header.fields[3]
            told.append(name)
            if name == "BeginAuthentication" and answers:
                agent.send(new_error(message, "org.freedesktop.PolicyKit1.Error.Cancelled"))

    told = []
    threading.Thread(target=work, daemon=True).start()
    return told

async def outcome(authenticator):
    try:
        await authenticator.authenticate("")
    except AuthenticationError as error:
        return [error.outcome, error.message]
    return ["granted", ""]

async def main():
    await PolkitAuthenticator("warm.up").can_authenticate()  # what it imports may be root's to read
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    found = {}
    for action in ACTIONS:
        polkit = PolkitAuthenticator(action)
        found[action] = [*await outcome(polkit), await polkit.can_authenticate()]
    found["finger"] = await outcome(FingerprintAuthenticator())
    told = become_an_agent(MODE == "closes")
    if MODE == "closes":
        found["dismissed"] = await outcome(PolkitAuthenticator(CHALLENGE))
    else:
        gate = Gate(PolkitAuthenticator(CHALLENGE))
        entering = asyncio.ensure_future(gate.enter())
        while "BeginAuthentication" not in told:
            await asyncio.sleep(0.01)
        gate.cancel()
        try:
            await entering
        except AuthenticationError as error:
            found["cancelled"] = [error.outcome, error.message]
        while "CancelAuthentication" not in told:
            await asyncio.sleep(0.01)
        found["timeout"] = await outcome(PolkitAuthenticator(CHALLENGE, timeout=0.2))
    print(json.dumps(found))

asyncio.run(main())
"""
YES, NO = "org.freedesktop.login1.inhibit-delay-shutdown", "net.reactivated.fprint.device.verify"
CHALLENGE = "org.freedesktop.policykit.exec"
"""Actions that come with systemd, fprintd and polkit, by what their files say of a user who is elsewhere."""


@pytest.mark.parametrize("mode", ["closes", "waits"])
def test_polkit_says_yes_no_or_asks(bus, mode):
    """As a user without rights: each answer; a question that the person closes, or the program takes back."""
    program = (
        f"ACTIONS, CHALLENGE, MODE = {[YES, NO, CHALLENGE, 'no.such']}, {CHALLENGE!r}, {mode!r}\n" + AS_NOBODY
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=bus.environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found[YES] == ["granted", "", True]
    assert found[NO] == ["denied", f"polkit does not allow {NO}", False]
    assert found[CHALLENGE][0] == "unavailable"
    assert "no program of this session can" in found[CHALLENGE][1]
    assert found[CHALLENGE][2]  # with a program that asks, the person could be asked
    assert found["no.such"][0] == "unavailable"
    assert "not registered" in found["no.such"][1]
    assert found["finger"] == ["unavailable", "this session may not use the fingerprint reader"]
    if mode == "closes":
        assert found["dismissed"] == ["cancelled", "the person closed the question"]
    else:
        assert found["cancelled"] == ["cancelled", "the question was taken back"]
        assert found["timeout"] == ["cancelled", "the question was not answered"]


async def test_root_is_never_asked(bus):
    """polkit lets root do everything."""
    await PolkitAuthenticator(NO).authenticate("")


@pytest.mark.parametrize(
    "make",
    [
        lambda: FingerprintAuthenticator(tries=0),
        lambda: FingerprintAuthenticator(timeout=0),
        lambda: PolkitAuthenticator(""),
        lambda: PolkitAuthenticator("a.b", timeout=-1),
    ],
)
def test_impossible_settings(make):
    """Refused where they are made."""
    with pytest.raises(ConfigurationError):
        make()
