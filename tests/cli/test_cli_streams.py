"""The command as a process: its imports, its streams, its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from axiom_persistence import open_persistence
from axiom_persistence.cli import main

COMMAND = (sys.executable, "-m", "axiom_persistence")


def environment(**changes):
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return {**kept, "PYTHONWARNINGS": "error", **changes}


def environments():
    """Of every process that can be looked into; none where there is no /proc."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended meanwhile, or is not ours


def run(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, encoding="utf-8", timeout=60, **options
    )


@pytest.fixture
def where(tmp_path):
    place = str(tmp_path / "notes.db")
    assert main(["set", place, "greeting", '"hé"']) == 0
    return place


def test_get_imports_no_more_than_it_needs(where):
    """Reading one value loads no rich, no textual, no cryptography, no test tools."""
    program = (
        "import sys\n"
        "from axiom_persistence.cli import main\n"
        f"assert main(['get', {where!r}, 'greeting']) == 0\n"
        "heavy = {'rich', 'textual', 'cryptography', 'redis', 'pytest', 'hypothesis', 'pydantic'}\n"
        "ours = {'testing', 'cli._demo', 'adapters.file'}\n"
        "heavy |= {'axiom_persistence.' + name for name in ours}\n"
        "assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_without_click_one_line_names_the_extra():
    """Where the extra is not installed, the command says how to get it."""
    program = (
        "import sys\nsys.modules['click'] = None\n"
        "from axiom_persistence.cli import main\nsys.exit(main(['ls', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "axiom-persistence[cli]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_streams_are_kept_apart(where):
    """Data is on standard output, whatever else is said on standard error."""
    done = run("get", where, "greeting", env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, '"hé"\n', "")
    done = run("get", where, "nothing", env=environment())
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("error: ")


def test_few_letters_are_enough(where):
    """Where output knows few letters, JSON stays JSON, and other text comes in escapes."""
    assert main(["set", where, "snow", '"hé☃"']) == 0
    western = environment(PYTHONIOENCODING="iso-8859-1")
    options = {"capture_output": True, "timeout": 60, "env": western}
    done = subprocess.run([*COMMAND, "get", where, "snow"], **options)
    assert (done.returncode, done.stdout) == (0, b'"h\\u00e9\\u2603"\n')
    done = subprocess.run([*COMMAND, "get", where, "snow", "--raw"], **options)
    assert (done.returncode, done.stdout) == (0, b"h\xe9\\u2603\n")


@pytest.mark.parametrize(
    ("arguments", "variables", "colour"),
    [
        ([], {}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour_is_asked_for(where, arguments, variables, colour):
    """In a pipe there is no colour unless the environment or the option asks; the option wins."""
    done = run("get", where, "nothing", *arguments, env=environment(**variables))
    assert ("\x1b[" in done.stderr) is colour
    assert (
        "\x1b[" in run(*arguments, "get", where, "nothing", env=environment(**variables)).stderr
    ) is colour


async def test_a_reader_that_has_enough_is_no_error(where):
    """A closed pipe (| head) ends the command quietly, as a signal would."""
    async with open_persistence(where) as persistence:
        await persistence.save_many({f"{key}{'x' * 900}": key for key in range(300)})
    with subprocess.Popen(
        [*COMMAND, "ls", where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_reader_that_never_read_is_no_error(where):
    """The same when all output is still in the buffer at the end."""
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [*COMMAND, "--help"], stdout=write, stderr=subprocess.PIPE, env=environment()
    ) as process:
        os.close(write)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize(
    "arguments",
    [["get", "greeting"], ["ls"], ["info"], ["verify", "--jsonl"], ["get", "greeting", "--json"], ["--help"]],
    ids=" ".join,
)
def test_an_output_without_room_is_told(where, arguments):
    """``> /dev/full`` ends with a code of its own and a line; where that cannot be written, in silence."""
    command = (
        [*COMMAND, *arguments] if arguments == ["--help"] else [*COMMAND, arguments[0], where, *arguments[1:]]
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=environment()
        )
        assert done.returncode == 14
        assert "the output cannot be written: No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert (
            subprocess.run(command, stdout=full, stderr=full, timeout=60, env=environment()).returncode == 14
        )


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupting_gives_130(tmp_path):
    """Ctrl-C in the middle ends with 130, one line and no traceback, and leaves no process behind."""
    marked = environment(AXIOM_TEST_MARK=str(tmp_path))
    with subprocess.Popen(
        [*COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=marked
    ) as process:
        assert process.stderr is not None
        assert "Saving" in process.stderr.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err == "error: interrupted\n"
    assert not any(str(tmp_path).encode() in environ for environ in environments())


@pytest.mark.skipif(os.name != "posix", reason="a pseudo terminal")
@pytest.mark.parametrize(
    ("answer", "code", "left"), [(b"n\n", 1, True), (b"y\n", 0, False), (b"\x04", 130, True)]
)
def test_rm_asks_on_a_terminal(where, answer, code, left):
    """On a terminal rm removes after a yes only."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*COMMAND, "rm", where, "greeting"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        os.write(ours, answer)
        _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code
    assert b"Remove 'greeting' for ever?" in err
    assert (main(["has", where, "greeting"]) == 0) is left


@pytest.mark.skipif(os.name != "posix", reason="a pseudo terminal")
def test_set_does_not_wait_for_a_terminal(where):
    """Without a value and with nobody piping one in, set says what is missing."""
    ours, theirs = os.openpty()
    done = run("set", where, "greeting", stdin=theirs, env=environment())
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "no VALUE given" in done.stderr


def test_keys_complete_from_the_store(where):
    """A shell is offered the store's keys; a place without a store offers none and is not made."""
    for key in ("green", "red", "got\nline"):
        assert main(["set", where, key, "1"]) == 0

    def complete(line):
        words = line.split(" ")
        asked = environment(
            _AXIOM_PERSISTENCE_COMPLETE="zsh_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)
        )
        return run(env=asked).stdout.split()

    assert complete(f"axiom-persistence get {where} gre") == ["plain", "green", "_", "plain", "greeting", "_"]
    assert "get" in complete("axiom-persistence ge")
    assert complete(f"axiom-persistence get {where}x.db g") == []
    assert not os.path.exists(where + "x.db")
