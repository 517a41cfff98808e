"""A string as JSON."""

import msgspec

_encode = msgspec.json.Encoder().encode


def json_text(text: str | None) -> bytes:
    """A string or null as JSON."""
    return b"null" if text is None else _encode(text)
