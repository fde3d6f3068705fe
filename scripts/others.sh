#!/bin/sh
# Runs what takes under two minutes on another Python than that of .venv: the newest one that is installed, or
# those named as arguments ("3.12 3.13").
set -eu
tests="tests/records tests/store tests/persistence tests/opening tests/storage tests/layers tests/jobs tests/test_keys.py tests/test_calls.py"

find_python() {
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

ours=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ran=
for version in ${*:-3.14 3.13 3.12}; do
    [ "$version" != "$ours" ] || continue
    python=$(find_python "$version") || { echo "Python $version is not installed here; not run"; continue; }
    venv=".venv-$version"
    if [ ! -e "$venv/.ready" ] || [ pyproject.toml -nt "$venv/.ready" ]; then
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --upgrade 'pip>=25.1'
        "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --editable '.[all]' --group test
        touch "$venv/.ready"
    fi
    echo "Python $version:"
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pytest -q $tests
    ran=$version
    [ $# -gt 0 ] || break
done
[ -n "$ran" ] || echo "no other Python than $ours is installed here"
