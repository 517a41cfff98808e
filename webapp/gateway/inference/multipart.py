"""One text field of a multipart/form-data body (RFC 7578), read and replaced without touching the files beside it."""

import re

from webapp.gateway.http.errors import Problem

_BOUNDARY = re.compile(rb'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_MAX_FIELD_BYTES = 1024


def read_field(content_type: bytes, body: bytes, name: str) -> str | None:
    """The field's text, or None when the form has no such field. Raises Problem 400 for what is not a form."""
    span = _find(content_type, body, name)
    if span is None:
        return None
    start, end = span
    if end - start > _MAX_FIELD_BYTES:
        raise Problem(
            400, "invalid_form", f"The form field '{name}' is longer than {_MAX_FIELD_BYTES} bytes", param=name
        )
    try:
        return body[start:end].decode()
    except UnicodeDecodeError:
        raise Problem(400, "invalid_form", f"The form field '{name}' is not UTF-8", param=name) from None


def replace_field(content_type: bytes, body: bytes, name: str, value: str) -> bytes:
    """The same form with another text in the field, which is put first when the form did not have it."""
    span = _find(content_type, body, name)
    if span is None:
        part = b'--%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        return part % (_boundary(content_type), name.encode(), value.encode()) + body
    return body[: span[0]] + value.encode() + body[span[1] :]


def _find(content_type: bytes, body: bytes, name: str) -> tuple[int, int] | None:
    """Where the field's value begins and ends."""
    delimiter = b"--" + _boundary(content_type)
    wanted = re.compile(rb'(?:^|[;\s])name="?' + re.escape(name.encode()) + rb'"?\s*(?:;|$)', re.IGNORECASE)
    if not body.startswith(delimiter):
        raise Problem(400, "invalid_form", "The body does not begin with the boundary its Content-Type names")
    at = len(delimiter)
    while (head_end := body.find(b"\r\n\r\n", at)) >= 0:
        value_end = body.find(b"\r\n" + delimiter, head_end + 2)
        if value_end < 0:
            raise Problem(400, "invalid_form", "The form's last part is not closed by its boundary")
        for line in body[at:head_end].split(b"\r\n"):
            header, _, value = line.partition(b":")
            if header.strip().lower() == b"content-disposition" and wanted.search(value):
                return head_end + 4, max(value_end, head_end + 4)
        at = value_end + 2 + len(delimiter)
    return None


def _boundary(content_type: bytes) -> bytes:
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.lower().startswith(b"multipart/form-data"):
        raise Problem(400, "invalid_form", "This endpoint takes multipart/form-data with a boundary")
    return found[1] or found[2]
