"""A small OpenID provider: discovery, authorize, token, keys and userinfo, as OpenID Connect Core 1.0 wants them.

It checks what a provider checks (client, redirect address, PKCE) and can be told to lie (`change_claims`, `answers`).
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID = "modelyard"
CLIENT_SECRET = "a secret between two"


class Provider:
    """One issuer with one client. Set `person` to who sits at the browser."""

    def __init__(self, redirect_uri: str) -> None:
        self.redirect_uri = redirect_uri
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.signing_key: Any = self.key
        self.algorithm = "RS256"
        self.person: dict[str, Any] = {}
        # What the ID token says instead; None takes a claim away.
        self.change_claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.announced_issuer: str | None = None
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: set[str] = set()
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.announced_issuer or self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent: the person agrees at once. Raises ValueError for a request no provider takes."""
        wanted = {"client_id": CLIENT_ID, "redirect_uri": self.redirect_uri, "response_type": "code"}
        for name, value in wanted.items():
            if query.get(name) != value:
                raise ValueError(f"{name} is {query.get(name)!r}")
        if query.get("code_challenge_method") != "S256" or len(query.get("code_challenge", "")) < 43:
            raise ValueError("no PKCE")
        if not query.get("state") or not query.get("nonce") or "openid" not in query.get("scope", "").split():
            raise ValueError("no state, nonce or scope")
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{self.redirect_uri}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        """The tokens for a code, once; None when anything is wrong."""
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if form.get("redirect_uri") != self.redirect_uri or challenge != asked["code_challenge"]:
            return None
        access = secrets.token_urlsafe(16)
        self.tokens.add(access)
        return {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": self.id_token(asked)}

    def id_token(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.person,
            **self.change_claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.signing_key, self.algorithm, headers={"kid": "one"})

    def keys(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.asked.append(parts.path)
            if parts.path == "/.well-known/openid-configuration":
                self._answer(provider.discovery())
            elif parts.path == "/keys":
                self._answer(provider.keys())
            elif parts.path == "/userinfo":
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                self._answer(provider.userinfo or provider.person, 200 if token in provider.tokens else 401)
            elif parts.path == "/authorize":
                self._redirect({name: values[0] for name, values in parse_qs(parts.query).items()})
            else:
                self._answer({"error": "not_found"}, 404)

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            reply = provider.token({name: values[0] for name, values in parse_qs(body).items()})
            self._answer(reply or {"error": "invalid_grant"}, 200 if reply else 400)

        def _redirect(self, query: dict[str, str]) -> None:
            try:
                to = provider.authorize(query)
            except ValueError as error:
                self._answer({"error": str(error)}, 400)
                return
            self.send_response(302)
            self.send_header("Location", to)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _answer(self, document: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def provider(redirect_uri: str) -> Iterator[Provider]:
    """A provider that listens on a port of this machine until the block ends."""
    started = Provider(redirect_uri)
    thread = threading.Thread(target=started.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield started
    finally:
        started.server.shutdown()
        started.server.server_close()
        thread.join(5)
