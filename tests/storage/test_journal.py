"""The journal is whole or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axiom_persistence.storage.journal import decode_journal, encode_journal

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(), max_size=5)
WHOLE = {"a": b"one", "é/\U0001f600": b"", "gone": None, "\x01store": bytes(range(256))}


@given(CHANGES)
def test_what_is_encoded_is_decoded(changes):
    """Any changes come back as they were, in their order, deletions and empty values included."""
    decoded = decode_journal(encode_journal(changes))
    assert decoded == changes
    assert list(decoded) == list(changes)


def test_no_changes_are_not_a_torn_journal():
    """An empty commit is valid, and told apart from nothing."""
    assert decode_journal(encode_journal({})) == {}


@pytest.mark.parametrize("size", [0, 1, 16, 68, 512, 4096])
def test_emptiness_is_never_valid(size):
    """Neither nothing nor zeros nor ones are a journal, whatever their checksum may be."""
    assert decode_journal(bytes(size)) is None
    assert decode_journal(b"\xff" * size) is None


def test_every_cut_is_noticed():
    """A journal cut short anywhere, or with anything behind it, is not one."""
    data = encode_journal(WHOLE)
    assert decode_journal(data) == WHOLE
    for size in range(len(data)):
        assert decode_journal(data[:size]) is None
        assert decode_journal(data[:size] + bytes(len(data) - size)) is None
    assert decode_journal(data + b"\0") is None
    assert decode_journal(data + data) is None


def test_every_flipped_bit_is_noticed():
    """No single damaged byte gives changes that nobody committed."""
    data = encode_journal(WHOLE)
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            assert decode_journal(bytes(damaged)) is None


def test_the_format_stays():
    """Journals of format 1 are read for ever: this one was written by the first version."""
    golden = b"axiom-journal 1 " + GOLDEN_SUM + b" 11\n" + GOLDEN_BODY
    assert encode_journal({"a": b"1", "b": None}) == golden
    assert decode_journal(golden) == {"a": b"1", "b": None}


GOLDEN_BODY = b"\x92\x92\xa1a\xc4\x011\x92\xa1b\xc0"
GOLDEN_SUM = b"388d84b4d433981d28be41ad4dd5585d"
