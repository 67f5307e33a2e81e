"""Reads text files that people write, as Windows editors save them too.

Understood are UTF-8 with and without a byte order mark, UTF-16 and UTF-32 with one, UTF-16 without
one where it can't be anything else, and every kind of line end.
"""

import codecs
from pathlib import Path

SIZE_MAX = 1024 * 1024  # a device or a log in place of the file must not fill the memory
_MARKS = (  # UTF-32 first: its mark starts like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)


class NotText(ValueError):
    """A file is not text; the message says in which line, and what to do."""


def read(path: Path) -> str:
    """Return the text of a file with ``\\n`` at the ends of lines. Raises OSError, `NotText`."""
    return decode(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Return the content of a file of at most `SIZE_MAX` bytes. Raises OSError, `NotText`."""
    with path.open("rb") as stream:
        data = stream.read(SIZE_MAX + 1)
    if len(data) > SIZE_MAX:
        raise NotText(f"it is larger than {SIZE_MAX // 1024} KiB")
    return data


def decode(data: bytes) -> str:
    """Return ``data`` as text with ``\\n`` at the ends of lines. Raises `NotText`."""
    mark, encoding = _format(data)
    try:
        text = data.removeprefix(mark).decode(encoding)
    except UnicodeDecodeError as error:
        at = error.start + len(mark)
        if encoding != "utf-8":
            raise NotText(f"it is damaged {encoding.upper()[:6]} (byte {at})") from error
        line = data.count(b"\n", 0, at) + 1
        byte = f"byte 0x{data[at]:02x}"
        raise NotText(f"line {line} is not UTF-8 text ({byte}); save the file as UTF-8") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise NotText(f"line {line} has a null character: the file is damaged or is not text")
    return text


def encode_like(text: str, original: bytes) -> bytes:
    """Return ``text`` in the encoding and with the line ends of ``original``, which is text."""
    mark, encoding = _format(original)
    before = original.removeprefix(mark).decode(encoding)
    end = next((one for one in ("\r\n", "\r") if one in before), "\n")
    return mark + text.replace("\n", end).encode(encoding)


def _format(data: bytes) -> tuple[bytes, str]:
    """Return the mark that ``data`` begins with, if there is one, and the encoding."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return mark, encoding
    # Latin letters in UTF-16 have a zero in one half of each pair; text in UTF-8 has none at all.
    zeros_first, zeros_second = data[0::2].count(0), data[1::2].count(0)
    pairs = len(data) // 2
    if len(data) % 2 == 0 and pairs:
        if zeros_first == 0 and zeros_second > pairs / 2:
            return b"", "utf-16-le"
        if zeros_second == 0 and zeros_first > pairs / 2:
            return b"", "utf-16-be"
    return b"", "utf-8"
