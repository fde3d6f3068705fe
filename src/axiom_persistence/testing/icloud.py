"""iCloud's key-value store without Apple: a server, and any number of devices, in one process."""

from __future__ import annotations

import plistlib
import random
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import AccessDeniedError, InvalidKeyError
from ..platform.ubiquitous import MOST_BYTES, MOST_KEYS, MOST_NAME_BYTES, Foreign, Reason, Ubiquitous

__all__ = ["ICloudDevice", "ICloudSimulator"]

Content = dict[str, Any]


class ICloudSimulator:
    """What Apple documents of ``NSUbiquitousKeyValueStore``, with nothing happening by itself.

    ``step`` lets one thing happen, drawn from ``seed``: a key of one device arrives in iCloud, or one from
    there at a device. So keys are late, and arrive in any order. ``deliver`` lets everything happen. Of two
    writes of one key the one stays that came to iCloud last. A device that writes much is held back:
    ``chatty`` keys wait until the next ``rest``. ``device()`` is a new one, ``sign_in`` changes its account.
    What would be more than 1,024 keys or 1 MiB is not taken, and ``Reason.QUOTA`` told.

    ::

        cloud = ICloudSimulator()
        mac, phone = cloud.device(), cloud.device()
        Sync(ICloudKeyValueAdapter(mac))
        cloud.deliver()
    """

    def __init__(self, *, seed: int = 0, chatty: int | None = None) -> None:
        self.accounts: dict[str, Content] = {}
        """What is in iCloud, by account."""
        self.devices: list[ICloudDevice] = []
        self.chatty: int | None = chatty
        """How many keys of a device are sent between two ``rest``; None: any number."""
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def device(
        self, *, account: str | None = "anna", downloaded: bool = True, entitled: bool = True
    ) -> ICloudDevice:
        """A new device. ``downloaded`` False: the first download is still to come, in some step.

        ``account`` None: nobody is signed in. ``entitled`` False: a program that may not use iCloud.
        """
        device = ICloudDevice(self, account, entitled)
        self.devices.append(device)
        if account is not None:
            self.accounts.setdefault(account, {})
        if downloaded:
            device.values.update(self.accounts.get(account or "", {}))
        device.downloaded = downloaded or account is None
        return device

    def sign_in(self, device: ICloudDevice, account: str | None) -> None:
        """Another account, or none: the device forgets what it had, what was not sent included."""
        before = device.values
        device.account, device.outbox, device.downloaded = account, {}, True
        device.values = dict(self.accounts.setdefault(account, {})) if account is not None else {}
        if before or device.values:
            device.note(Reason.ACCOUNT)

    def rest(self) -> None:
        """Time goes by: devices that were held back may send again."""
        for device in self.devices:
            device.sent = 0

    def step(self) -> bool:
        """Let one thing happen. False: there is nothing on its way."""
        possible = [(device, what) for device in self.devices for what in device.possible()]
        if not possible:
            return False
        device, what = self._random.choice(possible)
        device.happen(what)
        return True

    def deliver(self) -> None:
        """Let everything arrive, however long that takes."""
        moved = True  # what iCloud does not take stays on its way
        while moved:
            moved = False
            self.rest()
            for device in self.devices:
                for what in device.possible():
                    moved |= device.happen(what)


class ICloudDevice(Ubiquitous):
    """One device of an ``ICloudSimulator``: what ``NSUbiquitousKeyValueStore`` is for a program on it."""

    def __init__(self, cloud: ICloudSimulator, account: str | None, entitled: bool) -> None:
        self.cloud: ICloudSimulator = cloud
        self.account: str | None = account
        self.entitled: bool = entitled
        self.values: Content = {}
        """What the program sees: data, and any other property list that it has put there itself."""
        self.outbox: dict[str, None] = {}
        """Names that were written and not sent yet."""
        self.downloaded: bool = False
        self.sent: int = 0
        self._notes: deque[Reason] = deque()

    def __repr__(self) -> str:
        return f"ICloudDevice({self.account!r})"

    # -- what a program sees -----------------------------------------------------------------------

    def open(self) -> None:
        if not self.entitled:
            raise AccessDeniedError(
                "the simulated program may not use iCloud", hint="make the device with entitled=True"
            )

    def close(self) -> None:
        """Nothing is kept open."""

    def read(self, names: Collection[str] | None) -> Mapping[str, bytes | Foreign]:
        wanted = list(self.values) if names is None else [name for name in names if name in self.values]
        return {name: _seen(self.values[name]) for name in wanted}

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        for name, value in changes.items():
            self.set(name, value)

    def set(self, name: str, value: Any) -> None:
        """Write one key as an application does; None forgets it. Raises ``InvalidKeyError`` as Apple does."""
        if len(name.encode()) > MOST_NAME_BYTES:
            raise InvalidKeyError(
                f"a key has at most {MOST_NAME_BYTES} bytes in iCloud", key=name, hint="choose a shorter one"
            )
        after = _changed(self.values, name, value)
        if _is_too_much(after, self.values):
            self.note(Reason.QUOTA)
            return
        if not self.downloaded:
            self.note(Reason.INITIAL)
        self.values = after
        self.outbox[name] = None

    def told(self) -> Collection[Reason]:
        told = list(self._notes)
        self._notes.clear()
        return told

    def note(self, reason: Reason) -> None:
        """Tell the program something."""
        self._notes.append(reason)

    # -- what happens on the way -------------------------------------------------------------------

    def possible(self) -> list[tuple[str, str]]:
        """What may happen next: ("send" or "receive", name of a key), ("download", "")."""
        if self.account is None:
            return []
        if not self.downloaded:
            return [("download", "")]
        most = self.cloud.chatty
        held_back = most is not None and self.sent >= most
        server = self.cloud.accounts[self.account]
        news = [
            name
            for name in server.keys() | self.values.keys()
            if name not in self.outbox and server.get(name) != self.values.get(name)
        ]
        sending = [] if held_back else list(self.outbox)
        return [("send", name) for name in sending] + [("receive", name) for name in sorted(news)]

    def happen(self, what: tuple[str, str]) -> bool:
        """Let it happen; False: iCloud did not take it, and it stays on its way."""
        kind, name = what
        assert self.account is not None
        server = self.cloud.accounts[self.account]
        if kind == "download":
            # What was written before loses to what is there.
            self.outbox = {name: None for name in self.outbox if name not in server}
            self.values = {**self.values, **server}
            self.downloaded = True
            self.note(Reason.INITIAL)
        elif kind == "send":
            self.sent += 1
            after = _changed(server, name, self.values.get(name))
            if _is_too_much(after, server):
                self.note(Reason.QUOTA)
                return False
            self.cloud.accounts[self.account] = after
            self.outbox.pop(name, None)
        else:
            self.values = _changed(self.values, name, server.get(name))
            self.note(Reason.SERVER)
        return True


def _changed(content: Content, name: str, value: Any) -> Content:
    after = dict(content)
    after.pop(name, None)
    if value is not None:
        after[name] = value
    return after


def _size(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else len(plistlib.dumps(value, fmt=plistlib.FMT_BINARY))


def _seen(value: Any) -> bytes | Foreign:
    return value if isinstance(value, bytes) else Foreign(_size(value))


def _is_too_much(after: Content, before: Content) -> bool:
    """Whether it is more than fits, and more than it was."""
    if len(after) > max(MOST_KEYS, len(before)):
        return True
    return _total(after) > max(MOST_BYTES, _total(before))


def _total(content: Content) -> int:
    return sum(map(_size, content.values()))
