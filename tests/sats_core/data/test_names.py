"""Names that strangers choose: what would be shown as something else is no part of them."""

import json
import unicodedata

import pytest
from pydantic import TypeAdapter, ValidationError

from app.registry.schemas import Named
from sats_core.data.names import name_fault, printable

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
LINES = "\u2028\u2029\x0b\x85"
KEPT = "cat \u732b \u0642\u0637\u0629 \u05d7\u05ea\u05d5\u05dc e\u0301 a\u200db\u200cc \U0001f408"
NAMED = TypeAdapter(Named)


@pytest.mark.parametrize("odd", [*BIDI, *LINES, "\0", "\x1b", "\x7f"])
def test_what_turns_or_breaks_a_line_is_in_no_name(odd):
    wrong = f"gnp{odd}.cat"
    assert printable(wrong) == "gnp?.cat"
    assert name_fault(wrong) is not None
    with pytest.raises(ValidationError):
        NAMED.validate_python(wrong)


def test_every_script_is_a_name():
    assert printable(KEPT) == KEPT
    assert name_fault(KEPT) is None
    assert NAMED.validate_python(KEPT) == KEPT


def test_the_rule_is_the_same_everywhere():
    for code in (*range(0xD800), *range(0xE000, 0x10000)):
        character = chr(code)
        odd = printable(character) != character
        assert odd == (unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in BIDI)
    with pytest.raises(ValidationError):
        NAMED.validate_json(json.dumps("a\ud800"))
