"""Text files: what Windows editors save is understood; what is not text is named."""

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.files.text import SIZE_MAX, NotText, decode, encode_like, read

TEXT = "# café ☕\nname = 'a'\n"
ENCODINGS = {
    "UTF-8": TEXT.encode(),
    "UTF-8 with a mark": codecs.BOM_UTF8 + TEXT.encode(),
    "UTF-16 little endian with a mark": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "UTF-16 big endian with a mark": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-16 little endian": TEXT.encode("utf-16-le"),
    "UTF-16 big endian": TEXT.encode("utf-16-be"),
    "UTF-32": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "lines of Windows": TEXT.replace("\n", "\r\n").encode(),
    "lines of old Macs": TEXT.replace("\n", "\r").encode(),
    "UTF-16 with lines of Windows": TEXT.replace("\n", "\r\n").encode("utf-16"),
}


@pytest.mark.parametrize("data", ENCODINGS.values(), ids=ENCODINGS)
def test_encodings_and_line_ends(data: bytes) -> None:
    """The text is the same, however an editor saves it."""
    assert decode(data) == TEXT


@pytest.mark.parametrize("data", ENCODINGS.values(), ids=ENCODINGS)
def test_a_changed_text_keeps_encoding_and_line_ends(data: bytes) -> None:
    """What is written back differs from what was read only by the change."""
    assert encode_like(TEXT, data) == data
    assert decode(encode_like(TEXT + "ä = 1\n", data)) == TEXT + "ä = 1\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\ncaf\xe9\n", "line 2 is not UTF-8 text (byte 0xe9); save the file as UTF-8"),
        (b"\xffabc", "line 1 is not UTF-8 text (byte 0xff); save the file as UTF-8"),
        (b"a\nb\0c\n", "line 2 has a null character: the file is damaged or is not text"),
        (bytes(500), "line 1 has a null character: the file is damaged or is not text"),
        (b"a = 1\0", "line 1 has a null character: the file is damaged or is not text"),
        (codecs.BOM_UTF16_LE + b"a\0b", "it is damaged UTF-16 (byte 4)"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8a\0", "it is damaged UTF-16 (byte 2)"),
        (
            codecs.BOM_UTF8 + b"a\xff",
            "line 1 is not UTF-8 text (byte 0xff); save the file as UTF-8",
        ),
    ],
)
def test_what_is_not_text(data: bytes, message: str) -> None:
    """The message has the line and what to do about it."""
    with pytest.raises(NotText) as raised:
        decode(data)
    assert str(raised.value) == message


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_every_text_in_utf8_is_read_back(text: str) -> None:
    """No UTF-8 text is taken for another encoding."""
    assert decode(text.encode()) == text.removeprefix("\ufeff")


@given(st.binary())
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    """Nothing else is raised, and no text contains a null character or a carriage return."""
    try:
        text = decode(data)
    except NotText:
        return
    assert not {"\0", "\r"} & set(text)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    """A file is read up to the limit, and refused above it, as an endless device is."""
    file = tmp_path / "key"
    file.write_bytes(b"x" * SIZE_MAX)
    assert read(file) == "x" * SIZE_MAX
    for path in (file, Path("/dev/zero")):
        file.write_bytes(b"x" * (SIZE_MAX + 1))
        with pytest.raises(NotText, match="it is larger than 1024 KiB"):
            read(path)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """A missing file raises OSError."""
    with pytest.raises(OSError, match="No such file"):
        read(tmp_path / "key")
