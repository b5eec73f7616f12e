import re

import pytest

from app.keys.text import KEY_PATTERN, is_mistyped, make_key


def test_a_key_fits_its_pattern_and_no_two_are_the_same():
    made = {make_key() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert re.fullmatch(KEY_PATTERN, key)
        assert not is_mistyped(key)


def test_every_typo_of_one_character_is_seen():
    key = make_key()
    for place in range(len(key)):
        other = "0" if key[place] != "0" else "1"
        assert is_mistyped(key[:place] + other + key[place + 1 :]), place


@pytest.mark.parametrize("cut", [1, 2, 6, 8, 20])
def test_a_key_that_was_cut_short_is_seen(cut):
    key = make_key()
    assert is_mistyped(key[:-cut])
    assert is_mistyped(key[cut:])


@pytest.mark.parametrize("text", ["", "sats_", "x", "\ud800", "é" * 5000, "sats_é_000000"])
def test_what_is_no_key_is_mistyped(text):
    assert is_mistyped(text)


def test_a_key_from_before_there_were_checksums_is_not_judged():
    assert not is_mistyped("sats_" + "a-_Z" * 10 + "abc")
    assert not is_mistyped("sats_" + "a" * 36 + "_" + "b" * 6)
