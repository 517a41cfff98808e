"""Events in chunks of their own (RFC 9112, 7.1), told without a parser."""

# A read at the border of two chunks is one event, in one chunk that is spelled as the gateway spells chunks, if
#
#     len(data) < TOO_LONG and data.startswith(OPENINGS[len(data)]) and data.endswith(EVENT_END)
#
# No function asks this, because it is asked once per token.
TOO_LONG = 4096
EVENT_END = b"\n\n\r\n"
_NO_CHUNK = b"\0"


def _openings() -> list[bytes]:
    """For every length that one whole chunk can have: what it begins with."""
    openings = [_NO_CHUNK] * TOO_LONG
    for size in range(2, TOO_LONG):
        opening = b"%x\r\n" % size
        if len(opening) + size + 2 < TOO_LONG:
            openings[len(opening) + size + 2] = opening
    return openings


OPENINGS = _openings()


def ends_event(data: bytes, pieces: list[bytes]) -> bool:
    """Whether a read ended with an event and at the border of two chunks. `pieces` are the payloads found in it.

    The read's last line end stands behind an empty line, so it does not end a line that announces a chunk; and if it
    were payload, the last piece would end with it.
    """
    return data.endswith(EVENT_END) and bool(pieces) and not pieces[-1].endswith(b"\r\n")


def payload(chunk: bytes) -> bytes:
    """What is in a chunk that is one event."""
    return chunk[chunk.index(b"\n") + 1 : -2]
