"""A real gnome-keyring on a private session bus, with an unlocked collection."""

import os
import shutil
import signal
import subprocess
import time

NEEDED = ("dbus-daemon", "gnome-keyring-daemon")
MISSING = [tool for tool in NEEDED if shutil.which(tool) is None]
REASON = f"not installed: {', '.join(MISSING)} (scripts/setup.sh installs them as root)"


BUS = """
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
"""A bus that starts nothing by itself: a keyring that was stopped stays away."""


def start_bus(directory):
    """A private session bus and its address."""
    config = directory / "bus.conf"
    config.write_text(BUS)
    bus = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return bus, bus.stdout.readline().strip()


class Keyring:
    """One bus and one keyring daemon; ``environment`` is what a program needs to find them."""

    def __init__(self, directory):
        self.home, self.run = directory / "home", directory / "run"
        self.home.mkdir()
        self.run.mkdir(mode=0o700)
        self.environment = {**os.environ, "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.run)}
        for name in (
            "DISPLAY",
            "WAYLAND_DISPLAY",
            "XDG_DATA_HOME",
            "XDG_CONFIG_HOME",
            "GNOME_KEYRING_CONTROL",
        ):
            self.environment.pop(name, None)
        self.bus, self.environment["DBUS_SESSION_BUS_ADDRESS"] = start_bus(directory)
        self.daemon = None
        self.start()

    def start(self):
        """Start the daemon and unlock its login collection, whose password is a line end."""
        self.daemon = subprocess.Popen(
            ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.daemon.stdin.write(b"\n")
        self.daemon.stdin.close()
        deadline = time.monotonic() + 60
        while not self.is_ready():
            assert time.monotonic() < deadline, "gnome-keyring did not start"
            time.sleep(0.05)

    def is_ready(self):
        import secretstorage
        from jeepney import DBusErrorResponse

        try:
            with self.connected() as connection:
                return not secretstorage.Collection(connection).is_locked()
        except (secretstorage.exceptions.SecretStorageException, DBusErrorResponse, OSError):
            return False  # not on the bus yet

    def connected(self):
        """A connection of the tests' own to the private bus."""
        from jeepney.io.blocking import open_dbus_connection

        return open_dbus_connection(self.environment["DBUS_SESSION_BUS_ADDRESS"])

    def lock(self):
        import secretstorage

        with self.connected() as connection:
            secretstorage.Collection(connection).lock()

    def clear(self):
        """Forget what a test has left: every write rewrites all items."""
        import secretstorage

        with self.connected() as connection:
            collection = secretstorage.Collection(connection)
            if not collection.is_locked():
                for item in collection.search_items({"application": "axiom-persistence"}):
                    item.delete()

    def stop(self):
        """Stop the daemon, as its end at log-out does."""
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(30)
            self.daemon = None

    def close(self):
        self.stop()
        stop_bus(self.bus)


def stop_bus(bus):
    bus.terminate()
    bus.wait(30)
    bus.stdout.close()
