"""A real dconf: its service on a private session bus, with a database of its own."""

import os
import shutil
import subprocess
from pathlib import Path

from support.keyring import stop_bus

SERVICE = "/usr/share/dbus-1/services/ca.desrt.dconf.service"
MISSING = [tool for tool in ("dbus-daemon", "dconf") if shutil.which(tool) is None]
MISSING += [] if Path(SERVICE).exists() else ["dconf-service"]
REASON = f"not installed: {', '.join(MISSING)} (scripts/setup.sh installs them as root)"

BUS = """
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <servicedir>{services}</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""

DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "DCONF_PROFILE", "XDG_DATA_HOME", "AXIOM_PERSISTENCE_HOME")


class Dconf:
    """One bus that starts dconf's service, and the environment in which programs find both."""

    def __init__(self, directory):
        self.home = directory / "home"
        run, services = directory / "run", directory / "services"
        for made in (self.home, run, services):
            made.mkdir(mode=0o700)
        shutil.copy(SERVICE, services)
        self.environment = {k: v for k, v in os.environ.items() if k not in DESKTOP}
        self.environment |= {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_RUNTIME_DIR": str(run),
        }
        self.directory = directory
        self.start()

    def start(self):
        config = self.directory / "bus.conf"
        config.write_text(BUS.format(services=self.directory / "services"))
        self.environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
        self.bus = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.environment["DBUS_SESSION_BUS_ADDRESS"] = self.bus.stdout.readline().strip()

    def tool(self, *arguments, input=None):
        """What the command ``dconf`` prints."""
        done = subprocess.run(
            ["dconf", *arguments],
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    def close(self):
        stop_bus(self.bus)
