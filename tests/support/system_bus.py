"""A private system bus with the real polkitd, and the real fprintd with libfprint's virtual reader."""

import os
import shutil
import socket
import subprocess
import time

FPRINTD, POLKITD = "/usr/libexec/fprintd", "/usr/lib/polkit-1/polkitd"
MISSING = [tool for tool in ("dbus-daemon", FPRINTD, POLKITD) if shutil.which(tool) is None]
REASON = (
    f"not installed: {', '.join(MISSING)} (scripts/setup.sh installs them as root)"
    if MISSING
    else "polkitd gives its rights up, for which it has to begin as root"
)
UNUSABLE = bool(MISSING) or os.geteuid() != 0

BUS = """
<busconfig>
  <type>system</type>
  <listen>unix:tmpdir=/tmp</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow send_type="signal"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"""


class SystemBus:
    """The bus; ``environment`` is what a program needs to find it."""

    def __init__(self, directory):
        self.directory = directory
        self.reader = directory / "reader.sock"
        config = directory / "bus.conf"
        config.write_text(BUS)
        bus = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.programs = {"bus": bus}
        self.environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.stdout.readline().strip()}

    def start(self, name, command, **environment):
        self.programs[name] = subprocess.Popen(
            command,
            env={**self.environment, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start_polkit(self):
        self.start("polkit", [POLKITD, "--no-debug"])
        wait_for(lambda: self.is_there("org.freedesktop.PolicyKit1"))

    def start_fprintd(self, *, reader=True, state=None):
        state = state or self.directory / "state"
        state.mkdir(exist_ok=True)
        driver = {"FP_VIRTUAL_DEVICE": str(self.reader)} if reader else {}
        self.start(
            "fprintd",
            [FPRINTD, "-t"],
            FP_DRIVERS_WHITELIST="virtual_device",
            STATE_DIRECTORY=str(state),
            **driver,
        )
        wait_for(lambda: self.is_there("net.reactivated.Fprint"))

    def stop(self, name):
        program = self.programs.pop(name, None)
        if program is not None:
            program.kill()
            program.wait(30)
            if program.stdout is not None:
                program.stdout.close()
        if name == "fprintd":
            self.reader.unlink(missing_ok=True)

    def close(self):
        for name in reversed(list(self.programs)):
            self.stop(name)

    def connected(self):
        """A connection of the tests' own."""
        from jeepney.io.blocking import open_dbus_connection

        return open_dbus_connection(self.environment["DBUS_SYSTEM_BUS_ADDRESS"])

    def is_there(self, name):
        from jeepney.bus_messages import message_bus

        with self.connected() as connection:
            return bool(connection.send_and_get_reply(message_bus.NameHasOwner(name)).body[0])

    def say(self, *commands):
        """What happens at the reader: ``SCAN finger-1``, ``RETRY 1``, ``ERROR 0``, ``UNPLUG``."""
        for command in commands:
            with socket.socket(socket.AF_UNIX) as reader:
                reader.connect(str(self.reader))
                reader.sendall(command.encode())

    def ask(self, verb, signature="", *body):
        """Call the reader's device as a program of the desktop does."""
        from jeepney import DBusAddress, new_method_call
        from jeepney.wrappers import unwrap_msg

        manager = DBusAddress(
            "/net/reactivated/Fprint/Manager", "net.reactivated.Fprint", "net.reactivated.Fprint.Manager"
        )
        (path,) = unwrap_msg(self.desk.send_and_get_reply(new_method_call(manager, "GetDefaultDevice")))
        device = DBusAddress(path, "net.reactivated.Fprint", "net.reactivated.Fprint.Device")
        return unwrap_msg(
            self.desk.send_and_get_reply(new_method_call(device, verb, signature or None, body))
        )

    def ask_property(self, name):
        """A property of the reader's device. None: it is gone."""
        from jeepney import DBusAddress, MessageType, Properties

        device = DBusAddress(
            "/net/reactivated/Fprint/Device/0", "net.reactivated.Fprint", "net.reactivated.Fprint.Device"
        )
        reply = self.desk.send_and_get_reply(Properties(device).get(name))
        return reply.body[0][1] if reply.header.message_type is MessageType.method_return else None

    def enroll(self, finger):
        """Make ``finger`` known, whose prints libfprint makes of its name."""
        from jeepney import MatchRule
        from jeepney.bus_messages import message_bus

        rule = MatchRule(type="signal", interface="net.reactivated.Fprint.Device", member="EnrollStatus")
        with self.connected() as self.desk:
            self.desk.send_and_get_reply(message_bus.AddMatch(rule))
            self.ask("Claim", "s", "")
            self.ask("EnrollStart", "s", "right-index-finger")
            with self.desk.filter(rule, bufsize=20) as told:
                while True:
                    self.say(f"SCAN {finger}")
                    result, is_done = self.desk.recv_until_filtered(told, timeout=30).body
                    if is_done:
                        break
            assert result == "enroll-completed"
            self.ask("EnrollStop")
            self.ask("Release")


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not start"
        time.sleep(0.02)
