"""The stored form: it proves that it is whole and in its place, and stays readable for ever."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axiom_persistence.records.record import Damage, NewerFormat, Record, major, open_record, seal_record

# Written by the first version of this library. They are never changed: what was stored must stay readable.
GOLDEN = [
    (
        "window",
        b'{"axiom":1,"sum":"a8a1cf4030532a93","schema":"1.0","value":{"width":800}}',
        Record("1.0", b'{"width":800}'),
    ),
    (
        "a/\u00e9",
        b'{"axiom":1,"sum":"490db1f00a0f239e","schema":"2.1","compat":[1],"expires":1767225600000,"value":null}',
        Record("2.1", b"null", 1767225600000, b"[1]"),
    ),
]


@pytest.mark.parametrize(("key", "data", "record"), GOLDEN, ids=["plain", "all fields"])
def test_records_of_the_first_version_are_read_for_ever(key, data, record):
    """The golden records open to what they held, and mean what is written today."""
    assert open_record(key, data) == open_record(key, data, record.schema) == record
    written = seal_record(key, record.value, record.schema, expires=record.expires, compat=record.compat)
    assert open_record(key, written) == record
    # Since then the expiry comes before the form of the value for older programs, so a look at the head of
    # a record finds it.
    assert written == data or (record.compat is not None and len(written) == len(data))


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.recursive(st.integers() | st.text(st.characters(exclude_categories=["Cs"])) | st.none(), st.lists),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.none() | st.integers(0, 2**62),
    st.none() | st.integers(),
)
def test_what_is_sealed_opens(key, value, schema, expires, compat):
    """Every record is one JSON object with its value as it is, and opens under its key."""
    data = msgspec.json.encode(value)
    other = None if compat is None else msgspec.json.encode(compat)
    sealed = seal_record(key, data, schema, expires=expires, compat=other)
    shown = json.loads(sealed)
    assert (shown["axiom"], shown["schema"], shown["value"]) == (1, schema, value)
    for likely in ("1.0", schema):
        assert open_record(key, sealed, likely) == Record(schema, data, expires, other)


@settings(max_examples=300, deadline=None, database=None)
@given(st.data())
def test_whatever_is_changed_is_noticed(data):
    """A byte changed, added or taken away, or another key: Damage."""
    sealed = seal_record("key", b'{"a":[1,2,3]}', "1.0")
    at = data.draw(st.integers(0, len(sealed) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :],
                sealed[:at] + sealed[at + 1 :],
                sealed[:at] + b" " + sealed[at:],
                sealed[:at],
                sealed[:at] + bytes(len(sealed) - at),
            ]
        )
    )
    with pytest.raises(Damage):
        open_record("key", changed)
    with pytest.raises(Damage, match="moved here"):
        open_record("other", sealed)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (bytes(100), "100 zero bytes"),
        (bytes(5000) + b"x", "does not begin"),
        (b"\x80\x04\x95pickle", "does not begin"),
        (b"null", "does not begin"),
        (b'{"axiom":1,"sum":"0123456789abcdef","schema":"1.0","value":1}', "checksum"),
        (seal_record("k", b"[1,2]", "1.0")[:-3], "end is missing"),
    ],
)
def test_a_reason_is_given_in_words(data, says):
    """The words say what kind of damage it is."""
    with pytest.raises(Damage, match=says):
        open_record("k", data)


def test_a_whole_record_of_an_unknown_shape_is_not_guessed_at():
    """The sum is right but a field is unknown: Damage, not a value with something left out."""
    from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

    for body in (b'"schema":"1.0","extra":1,"value":2}', b'"schema":"1.0"}', b"[]", b'"schema":1,"value":2}'):
        total = xxh3_64_hexdigest(body, xxh3_64_intdigest(b"k")).encode()
        with pytest.raises(Damage, match="not understood"):
            open_record("k", b'{"axiom":1,"sum":"%b",%b' % (total, body))


def test_a_later_format_is_not_damage():
    """A record that says it has a later format is told apart from one whose digit was flipped."""
    with pytest.raises(NewerFormat, match="format 2"):
        open_record("k", b'{"axiom":2,"sum":"an unknown one","value":1}')
    with pytest.raises(NewerFormat):
        open_record("k", b'{"axiom":17,"value":1}')
    with pytest.raises(Damage):
        open_record("k", seal_record("k", b"1", "1.0").replace(b'{"axiom":1', b'{"axiom":3'))
    with pytest.raises(Damage):
        open_record("k", b'{"axiom":0,"value":1}')


def test_major_versions_are_compared_as_numbers():
    """10 is after 9; what is no number is before all numbers."""
    ordered = ["draft", "0.9", "1.0", "2", "9.9", "10.0"]
    assert sorted(ordered, key=major) == ordered
    assert major("1.0") == major("1.99") == major("1")
    assert major("\u00b2") < major("0")
