"""Keys as they are typed on the command line."""

import pytest

from streamfn.cli.values import key_candidates, text_or_hex
from streamfn.errors import SerdeError


@pytest.mark.parametrize("key", [b"abcd", b"a", b"", b"\xff\x00\xff", b"0xff", "ÿ".encode()])
def test_a_key_of_bytes_may_be_typed_as_it_is_shown(key: bytes) -> None:
    """What is shown for a key is found again, whether it is text or not."""
    assert key in key_candidates(text_or_hex(key), bytes)
    assert key in key_candidates(text_or_hex(key), bytes | None)


def test_a_key_of_bytes_may_be_base64_as_in_json() -> None:
    """As JSON has bytes, in a recording and in what commands write for programs."""
    assert b"\xff\x00\xff" in key_candidates('"/wD/"', bytes)


def test_what_is_no_key_names_the_type_as_code_does() -> None:
    """The type is named, not shown as Python's repr."""
    with pytest.raises(SerdeError, match=r"^key 'x' is no int; got "):
        key_candidates("x", int)
