"""Addresses as people write them, in the form that goes over the wire (RFC 3987, 3.1). Pure, standard library alone."""

import unicodedata
from urllib.parse import SplitResult, quote, urlsplit

# What may stand in a path or query as it is; "%" because an address that is encoded already stays so.
_KEPT = "%/:@!$&'()*+,;=~?-._"
# IDNA 2003, which Python has, writes these as other letters and so names another host than IDNA 2008 does.
_DEVIATING = frozenset("ßςẞ\u200c\u200d")


class IriError(ValueError):
    """No form of this address can be asked; the text says why."""


def to_uri(text: str) -> str:
    """The same address in ASCII: host names by IDNA, everything else as UTF-8 with "%". Raises IriError.

    An address that is one already comes back as it is.
    """
    bad = next((char for char in text if _is_unfit(char)), None)
    if bad is not None:
        raise IriError(f"The address holds the character U+{ord(bad):04X}, which cannot be seen. Type it again.")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise IriError(f"{text!r} is not a URL.") from error
    if text.isascii() and not any(char in ' "<>\\^`{|}' for char in text):
        return text
    if "\\" in text:
        raise IriError("The address holds a backslash. Write it with / instead.")
    if any(char == " " or char in '"<>^`{|}' for char in parts.netloc):
        raise IriError(f"{parts.netloc!r} is no name of a host.")
    netloc = parts.netloc if parts.netloc.isascii() else _netloc(parts, host, port)
    fields = (quote(part, safe=_KEPT, encoding="utf-8", errors="strict") for part in parts[2:])
    return SplitResult(parts.scheme, netloc, *fields).geturl()


def from_header(text: str) -> str:
    """The address that a header field holds: its bytes as UTF-8, which http.client reads as Latin-1 (RFC 9110, 5.5)."""
    if text.isascii():
        return text
    raw = text.encode("latin-1", errors="replace")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return quote(raw, safe=_KEPT + "#[]")


def _netloc(parts: SplitResult, host: str, port: int | None) -> str:
    if any(char in _DEVIATING for char in parts.netloc):
        raise IriError(f"The host name {host} is read in two ways. Write it in its xn-- form.")
    try:
        name = host.encode("idna").decode()
    except UnicodeError as error:
        raise IriError(f"{host!r} is no name of a host.") from error
    # Who is asked must be seen: a user name before the host stays for the policy to refuse.
    user = parts.netloc.rpartition("@")[0]
    user = f"{quote(user, safe=':')}@" if user else ""
    return f"{user}{name}" + (f":{port}" if port is not None else "")


def _is_unfit(char: str) -> bool:
    """Control characters, halves of surrogate pairs, what turns the direction of writing, and what is no character."""
    if char.isascii():
        return not char.isprintable()
    category = unicodedata.category(char)
    return (
        category in ("Cc", "Cs", "Zl", "Zp") or (category == "Cf" and char not in "\u200c\u200d") or _is_none(ord(char))
    )


def _is_none(point: int) -> bool:
    return 0xFDD0 <= point <= 0xFDEF or point & 0xFFFE == 0xFFFE
