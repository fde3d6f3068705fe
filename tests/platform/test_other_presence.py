"""Touch ID and Windows Hello over doubles of the systems' functions, which answer as documented."""

import asyncio
import sys
import threading
import types

import pytest

from axiom_persistence.errors import AuthenticationError, ConfigurationError
from axiom_persistence.security import Gate, TouchIDAuthenticator, WindowsHelloAuthenticator


class LAContext:
    """One question of LocalAuthentication. It answers on a thread of its own."""

    answers = ()
    made = ()

    @classmethod
    def alloc(cls):
        return cls()

    def init(self):
        type(self).made = (*self.made, self)
        return self

    def canEvaluatePolicy_error_(self, policy, error):
        assert policy in (1, 2)
        code = self.answers[0] if self.answers else 0
        return (code not in (-5, -6, -7, -8), None)

    def evaluatePolicy_localizedReason_reply_(self, policy, reason, reply):
        assert policy in (1, 2)
        assert reason  # macOS refuses an empty one
        self.reply = reply
        if self.answers:
            self._answer(self.answers[0])

    def invalidate(self):
        self._answer(-9)

    def _answer(self, code):
        error = None if code == 0 else types.SimpleNamespace(code=lambda: code)
        threading.Thread(target=self.reply, args=(code == 0, error)).start()


@pytest.fixture
def mac(monkeypatch):
    """Has macOS answer with a code; None: nothing yet."""
    context = type("LAContext", (LAContext,), {})
    monkeypatch.setitem(sys.modules, "LocalAuthentication", types.SimpleNamespace(LAContext=context))

    def answers(code):
        context.answers = () if code is None else (code,)
        return context

    return answers


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (-1, "denied"),
        (-2, "cancelled"),
        (-4, "cancelled"),
        (-6, "unavailable"),
        (-7, "unavailable"),
        (-8, "locked_out"),
        (-1004, "unavailable"),
        (-99, "unavailable"),
    ],
)
async def test_what_touch_id_answers(mac, code, outcome):
    """Each code, and a yes."""
    mac(0)
    await TouchIDAuthenticator().authenticate("open the notes")
    assert await TouchIDAuthenticator(password=True).can_authenticate()
    mac(code)
    with pytest.raises(AuthenticationError) as caught:
        await TouchIDAuthenticator(password=True).authenticate("open the notes")
    assert caught.value.outcome == outcome
    assert await TouchIDAuthenticator().can_authenticate() is (code not in (-6, -7, -8))


async def test_a_question_of_touch_id_is_taken_back(mac):
    """Cancelled, the context is made invalid; its late answer is nobody's."""
    context = mac(None)
    gate = Gate(TouchIDAuthenticator())
    entering = asyncio.ensure_future(gate.enter())
    while not context.made:
        await asyncio.sleep(0)
    gate.cancel()
    with pytest.raises(AuthenticationError) as caught:
        await entering
    assert caught.value.outcome == "cancelled"
    await asyncio.sleep(0.05)
    assert not gate.is_open


class Asking:
    """An asynchronous operation of Windows."""

    def __init__(self, result):
        self.result = result
        self.is_cancelled = False

    def cancel(self):
        self.is_cancelled = True

    def __await__(self):
        if self.result is None:
            yield from asyncio.Event().wait().__await__()
        return self.result


@pytest.fixture
def windows(monkeypatch):
    """Has Windows answer with a number; None: nothing yet."""
    asked = []

    def answers(result, available=0):
        class UserConsentVerifier:
            @staticmethod
            def request_verification_async(message):
                asked.append(Asking(result))
                return asked[-1]

            @staticmethod
            def check_availability_async():
                return Asking(available)

        api = types.SimpleNamespace(UserConsentVerifier=UserConsentVerifier)
        monkeypatch.setitem(sys.modules, "winrt.windows.security.credentials.ui", api)
        return asked

    return answers


@pytest.mark.parametrize(
    ("result", "outcome"),
    [(1, "unavailable"), (3, "unavailable"), (5, "locked_out"), (6, "cancelled"), (9, "unavailable")],
)
async def test_what_windows_hello_answers(windows, result, outcome):
    """Each number, and a yes."""
    windows(0)
    await WindowsHelloAuthenticator().authenticate("open the notes")
    assert await WindowsHelloAuthenticator().can_authenticate()
    windows(result, available=2)
    with pytest.raises(AuthenticationError) as caught:
        await WindowsHelloAuthenticator().authenticate("open the notes")
    assert caught.value.outcome == outcome
    assert not await WindowsHelloAuthenticator().can_authenticate()


async def test_a_question_of_windows_hello_is_taken_back(windows):
    """Cancelled, the system's operation is cancelled."""
    asked = windows(None)
    asking = asyncio.ensure_future(WindowsHelloAuthenticator().authenticate("open the notes"))
    while not asked:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asked[0].is_cancelled


@pytest.mark.parametrize(
    ("make", "module"),
    [
        (TouchIDAuthenticator, "LocalAuthentication"),
        (WindowsHelloAuthenticator, "winrt.windows.security.credentials.ui"),
    ],
)
async def test_a_missing_package_is_named(make, module, monkeypatch):
    """On the wrong system, or without the extra."""
    monkeypatch.setitem(sys.modules, module, None)
    assert not await make().can_authenticate()
    with pytest.raises(ConfigurationError, match=r"axiom-persistence\[gates\]"):
        await make().authenticate("open the notes")
