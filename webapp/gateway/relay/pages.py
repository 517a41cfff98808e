"""What people and programs see where web does not answer itself: what is going on, what still works, what to do."""

from webapp.foundation import body_limit
from webapp.gateway.http.errors import Problem, body_of, retry_after
from webapp.gateway.http.request import Request
from webapp.gateway.http.response import whole_response

RETRY_S = 3
_HTML = b"text/html; charset=utf-8"

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

_REFUSED = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Modelyard</title>
<h1>%b</h1>
<p>Nothing was changed.
<p><small>Request %b</small>
</html>
"""
_ALONE = b"content-security-policy: default-src 'none'\r\n"


def too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"{body_limit.TITLE} {body_limit.ADVICE}", close=True)


def too_slow() -> Problem:
    return Problem(408, "slow_body", "The request took too long to arrive. Send it again.", close=True)


def check_coding(request: Request) -> None:
    """Raises Problem 415 for a compressed body: web reads none."""
    coding = request.fields.get(b"content-encoding", b"").strip().lower()
    if coding not in (b"", b"identity"):
        message = "A body with a Content-Encoding is not understood here. Send it without."
        headers = b"accept-encoding: identity\r\n"
        raise Problem(415, "unsupported_content_encoding", message, headers=headers, close=True)


def refused(request: Request, request_id: str, problem: Problem) -> bytes:
    """HTML for browsers, the REST API's shape of errors for everyone else. The connection ends with it."""
    is_head = request.method == b"HEAD"
    if _wants_html(request):
        page = _REFUSED % (problem.message.encode(), request_id.encode())
        content_type, headers = _HTML, problem.headers + _ALONE
    else:
        what, _, advice = problem.message.partition(". ")
        page = body_limit.problem_document(f"{what}.", problem.status, advice, request_id)
        content_type, headers = b"application/problem+json", problem.headers
    return whole_response(
        problem.status, page, request_id, False, content_type=content_type, headers=headers, is_head=is_head
    )


def web_is_down(request: Request, request_id: str, keeps_alive: bool, why: str, *, status: int = 503) -> bytes:
    """HTML for browsers, JSON for everyone else."""
    headers = retry_after(RETRY_S) + b"cache-control: no-store\r\n"
    is_head = request.method == b"HEAD"
    if _wants_html(request):
        page = _PAGE % (why.encode(), request_id.encode())
        headers += b"refresh: %d\r\n" % RETRY_S + _ALONE
        return whole_response(
            status, page, request_id, keeps_alive, content_type=_HTML, headers=headers, is_head=is_head
        )
    body = body_of(Problem(status, "web_unavailable", why), request_id)
    return whole_response(status, body, request_id, keeps_alive, headers=headers, is_head=is_head)


def _wants_html(request: Request) -> bool:
    return b"text/html" in request.fields.get(b"accept", b"")
