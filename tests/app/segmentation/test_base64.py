import base64
import binascii

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.segmentation import json_pictures
from app.segmentation.json_pictures import from_base64


@given(st.binary(max_size=40), st.text("QUJD=\n", max_size=3), st.integers(0, 60))
@example(b"a" * 4, "", 0)
@example(b"a" * 6, "=", 8)
def test_read_in_pieces_it_is_what_it_is_in_one(data: bytes, stray: str, at: int) -> None:
    right = base64.b64encode(data)
    letters = right[:at] + stray.encode() + right[at:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_pictures, "_PIECE", 8)
        try:
            found = from_base64(letters)
        except binascii.Error:
            assert letters != right
        else:
            assert found == binascii.a2b_base64(letters, strict_mode=True)
