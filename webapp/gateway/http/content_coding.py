"""Request bodies that come compressed: which codings are understood, and the body as it was before."""

import zlib

from webapp.gateway.http.errors import Problem

ACCEPTED = b"gzip"
_GZIP = frozenset((b"gzip", b"x-gzip"))  # RFC 9110, 8.4.1.3: two names of one coding
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
# So much is unpacked at a time, before somebody looks whether there is room for more.
STEP_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024  # what a step left over is copied


def check(value: bytes) -> bool:
    """Whether the body has to be decoded. Raises Problem 415 for a coding that is not understood."""
    coding = value.strip().lower()
    if coding in _GZIP:
        return True
    if coding in (b"", b"identity"):
        return False
    shown = value[:60].decode("latin-1")
    message = f"A body with Content-Encoding: {shown} is not understood: send it with gzip, or without"
    raise Problem(415, "unsupported_content_encoding", message, headers=b"accept-encoding: %b\r\n" % ACCEPTED)


class Decoder:
    """Unpacks one gzip member, a step at a time; `size` is what there is by now."""

    def __init__(self, body: bytes) -> None:
        self._packed = memoryview(body)
        self._read_bytes = 0
        self._unpacker = zlib.decompressobj(_GZIP_FORMAT)
        self._pieces: list[bytes] = []
        self.size = 0

    @property
    def is_done(self) -> bool:
        return self._unpacker.eof

    def step(self) -> None:
        """One piece more; may run in a thread. Raises Problem 400 for what is not one whole gzip member."""
        unpacker = self._unpacker
        packed: bytes | memoryview = unpacker.unconsumed_tail
        if not packed:
            packed = bytes(self._packed[self._read_bytes : self._read_bytes + _READ_BYTES])
            self._read_bytes += len(packed)
        try:
            piece = unpacker.decompress(packed, STEP_BYTES)
        except zlib.error as error:
            raise _broken(f"it is not gzip ({error})") from None
        self._pieces.append(piece)
        self.size += len(piece)
        if unpacker.eof and (unpacker.unused_data or self._read_bytes < len(self._packed)):
            raise _broken("something follows behind its end")
        if not packed and not piece and not unpacker.eof:
            raise _broken("its end is missing")

    def body(self) -> bytes:
        """The whole, once `is_done`."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _broken(why: str) -> Problem:
    return Problem(400, "invalid_content_encoding", f"The body says Content-Encoding: gzip, but {why}")
