"""Events in chunks of their own (RFC 9112, 7.1), told without a parser."""

_MAX_BYTES = 4096
_NO_CHUNK = b"\0"
_END = b"\n\n\r\n"


def _openings() -> list[bytes]:
    """For every length that one whole chunk can have: what it begins with."""
    openings = [_NO_CHUNK] * _MAX_BYTES
    for size in range(2, _MAX_BYTES):
        opening = b"%x\r\n" % size
        if len(opening) + size + 2 < _MAX_BYTES:
            openings[len(opening) + size + 2] = opening
    return openings


_OPENINGS = _openings()


def is_event(data: bytes) -> bool:
    """Whether `data`, read at the border of two chunks, is exactly one chunk, spelled as the gateway spells chunks, and
    ends with the end of an event."""
    length = len(data)
    return length < _MAX_BYTES and data.startswith(_OPENINGS[length]) and data.endswith(_END)


def ends_event(data: bytes, pieces: list[bytes]) -> bool:
    """Whether a read ended with an event and at the border of two chunks. `pieces` are the payloads found in it.

    The read's last line end stands behind an empty line, so it does not end a line that announces a chunk; and if it
    were payload, the last piece would end with it.
    """
    return data.endswith(_END) and bool(pieces) and not pieces[-1].endswith(b"\r\n")


def payload(chunk: bytes) -> bytes:
    """What is in a chunk that `is_event`."""
    return chunk[chunk.index(b"\n") + 1 : -2]
