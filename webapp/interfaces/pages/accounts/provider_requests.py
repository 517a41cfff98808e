"""What is asked of the single sign-on's provider: under the installation's policy, and over in time."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import requests
from django.http import HttpRequest
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from webapp.catalog import outbound
from webapp.catalog.outbound import OutboundError, Policy
from webapp.foundation.deadline import Deadline

# All questions of one step: the browser of somebody who signs in waits for them.
LIMIT_S = 10.0
MAX_ANSWER_BYTES = 2 * 2**20
_OURS = frozenset(("host", "connection", "accept-encoding", "content-length"))


def session(request: HttpRequest, issuer: str) -> requests.Session:
    """A session of requests for this sign-in; all sessions of one request of a browser share one deadline."""
    deadline: Deadline | None = getattr(request, "provider_deadline", None)
    if deadline is None:
        deadline = request.provider_deadline = Deadline(LIMIT_S)  # type: ignore[attr-defined]
    made = requests.Session()
    made.trust_env = False  # proxies are the policy's, and no .netrc speaks for us
    for scheme in ("https://", "http://"):
        made.mount(scheme, _Checked(_policy(issuer), issuer, deadline))
    return made


def _policy(issuer: str) -> Policy:
    """The issuer that the admin named may be asked wherever it is; other places as the installation allows."""
    allowed = outbound.environment_policy()
    name = urlsplit(issuer).hostname
    return replace(allowed, hosts=(name,)) if name else allowed


class _Checked(BaseAdapter):
    """Every request and redirect is resolved, checked, pinned, and ends at the deadline."""

    def __init__(self, policy: Policy, issuer: str, deadline: Deadline) -> None:
        super().__init__()
        self.policy, self.issuer, self.deadline = policy, issuer, deadline

    def send(self, request: requests.PreparedRequest, *_words: Any, **_more: Any) -> requests.Response:
        url = str(request.url)
        if self.issuer.startswith("https:") and not url.startswith("https:"):
            raise requests.ConnectionError(f"{url} would be asked without encryption", request=request)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
        body = request.body.encode() if isinstance(request.body, str) else request.body
        parts: list[bytes] = []
        try:
            with outbound.ask(url, self.policy, headers, body, self.deadline) as answer:
                while piece := answer.read(1 << 16):
                    parts.append(piece)
                    if sum(map(len, parts)) > MAX_ANSWER_BYTES:
                        raise OutboundError("unreachable", "The answer is too long.", "Try again later.")
        except OutboundError as error:
            raise requests.ConnectionError(str(error), request=request) from error
        reply = requests.Response()
        reply.status_code, reply.url, reply.request = answer.status, url, request
        reply.headers = CaseInsensitiveDict(answer.headers.items())
        reply._content = b"".join(parts)
        reply.encoding = "utf-8"
        return reply

    def close(self) -> None:
        """Each question has a connection of its own."""
