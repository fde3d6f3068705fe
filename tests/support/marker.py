"""A text that is saved as a secret, and searched for wherever a library may have left it."""

import base64
import traceback

MARKER = "marker-d41d8cd98f00b204e9800998ecf8427e"


def forms(text=MARKER):
    """The ways in which it might lie somewhere: as it is, in UTF-16, hex and base64 at every offset."""
    data = text.encode()
    found = [data, text.encode("utf-16-le"), data.hex().encode()]
    for shift in range(3):
        # Without the ends, which depend on what is around it.
        found.append(base64.b64encode(bytes(shift) + data)[8:-8])
    return found


def leaks(directory, told=""):
    """The files below ``directory`` that hold it, and ``"told"`` if what was logged or shown does."""
    found = [
        path.relative_to(directory).as_posix()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and any(form in path.read_bytes() for form in forms())
    ]
    return found + ["told" for form in forms() if form in told.encode()]


def everything_of(error):
    """What a log shows of an exception: its causes, contexts and notes, and their arguments."""
    shown, pending, seen = traceback.format_exception(error), [error], set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        shown += [repr(each), str(each), repr(each.args), repr(vars(each))]
        pending += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return "".join(shown)
