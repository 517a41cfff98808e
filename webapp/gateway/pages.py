"""What people and programs see while web is not there: what is going on, what still works, when to come back."""

from webapp.gateway.errors import Problem, body_of, retry_after
from webapp.gateway.framing import Request
from webapp.gateway.writing import whole_response

RETRY_S = 3

_PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Modelyard is starting</title>
<h1>The dashboard is not there at the moment</h1>
<p>%b
<p>Models that are running go on answering at <code>/v1</code>; keys that were known stay valid.
<p>If this page stays for more than a minute, look at the log of the process called web.
<p><small>Request %b</small>
</html>
"""


def web_is_down(request: Request, request_id: str, keeps_alive: bool, why: str, *, status: int = 503) -> bytes:
    """HTML for browsers, JSON for everyone else."""
    headers = retry_after(RETRY_S) + b"cache-control: no-store\r\n"
    is_head = request.method == b"HEAD"
    if b"text/html" in request.fields.get(b"accept", b""):
        page = _PAGE % (why.encode(), request_id.encode())
        content_type = b"text/html; charset=utf-8"
        headers += b"refresh: %d\r\ncontent-security-policy: default-src 'none'\r\n" % RETRY_S
        return whole_response(
            status, page, request_id, keeps_alive, content_type=content_type, headers=headers, is_head=is_head
        )
    body = body_of(Problem(status, "web_unavailable", why), request_id)
    return whole_response(status, body, request_id, keeps_alive, headers=headers, is_head=is_head)
