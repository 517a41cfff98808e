"""Why a body is no JSON, told by how it begins, where that says more than the parser can."""

import codecs

# The longer ones first: UTF-32 begins as UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF8, "begins with a byte order mark (BOM): send UTF-8 without one"),
    (codecs.BOM_UTF32_LE, "is UTF-32, which its byte order mark (BOM) says: send UTF-8 without one"),
    (codecs.BOM_UTF32_BE, "is UTF-32, which its byte order mark (BOM) says: send UTF-8 without one"),
    (codecs.BOM_UTF16_LE, "is UTF-16, which its byte order mark (BOM) says: send UTF-8 without one"),
    (codecs.BOM_UTF16_BE, "is UTF-16, which its byte order mark (BOM) says: send UTF-8 without one"),
    (b"\x1f\x8b", "is compressed with gzip, and no Content-Encoding header says so"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd, which is not understood here: send it with gzip, or without"),
)


def why(body: bytes, error: str) -> str:
    """One sentence; `error` is what the parser said."""
    if not body:
        return "The body is empty: a JSON object is expected"
    for mark, meaning in _MARKS:
        if body.startswith(mark):
            return f"The body {meaning}"
    return f"The body is not a JSON object the gateway can read: {error}"
