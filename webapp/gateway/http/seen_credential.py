"""What one connection has learned of its client's credential."""


class SeenCredential:
    """The last Authorization header of one connection and its key's digest: a client repeats its key, so it need not
    be read and hashed again. What the digest means is looked up every time. Goes with the connection."""

    __slots__ = ("authorization", "digest")

    def __init__(self) -> None:
        self.authorization: bytes | None = b""
        self.digest = b""
