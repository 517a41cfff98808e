"""GET /v1/models and /v1/models/<name>: what the key may use, from the snapshot."""

from typing import Any

import msgspec

from webapp.gateway.http.errors import Problem, retry_after
from webapp.gateway.http.request import Request
from webapp.gateway.http.response import whole_response
from webapp.gateway.http.seen_credential import SeenCredential
from webapp.gateway.routing.credentials import authenticate
from webapp.gateway.routing.directory import Deployment, Directory
from webapp.gateway.routing.targets import Target


def answer(
    directory: Directory, request: Request, target: Target, request_id: str, keeps_alive: bool, headers: bytes = b""
) -> bytes:
    """The whole response, with `headers` as ready-made lines. Raises Problem."""
    if target.carries_key:
        raise Problem(401, "key_in_query", "Send the key in the Authorization header, not in the URL")
    if not directory.is_known:
        raise Problem(
            503,
            "gateway_starting",
            "The gateway is starting up and has not loaded its keys yet",
            headers=retry_after(1),
        )
    principal = authenticate(request.fields, directory, SeenCredential())
    if request.method not in (b"GET", b"HEAD"):
        raise Problem(405, "method_not_allowed", "Method not allowed: use GET", headers=b"allow: GET, HEAD\r\n")
    wanted = target.model
    if target.team is not None and target.deployment is not None:
        found = directory.by_path(principal, target.team, target.deployment)
        names = {found.name: found}
    else:
        names = directory.usable(principal)
    if not wanted:
        models = [_describe(name, deployment) for name, deployment in names.items()]
        body = msgspec.json.encode({"object": "list", "data": models})
    elif wanted in names:
        body = msgspec.json.encode(_describe(wanted, names[wanted]))
    else:
        directory.by_model(principal, wanted)
        raise Problem(404, "model_not_found", f"The model '{wanted[:100]}' does not exist here", param="model")
    return whole_response(200, body, request_id, keeps_alive, headers=headers, is_head=request.method == b"HEAD")


def _describe(name: str, deployment: Deployment) -> dict[str, Any]:
    """OpenAI's model object, with what we know beside it; null is what nobody knows while it has never been ready."""
    entry, endpoints = deployment.entry, deployment.endpoints
    return {
        "id": name,
        "object": "model",
        "created": int(entry.created_at),
        "owned_by": deployment.team_slug,
        "ready": bool(deployment.ready),
        "endpoints": sorted(endpoints),
        "context_length": entry.context_length,
        "max_tokens": entry.max_tokens_limit,
        "capabilities": {
            "chat": "chat/completions" in endpoints,
            "embeddings": "embeddings" in endpoints,
            "rerank": "rerank" in endpoints,
            "tools": entry.tools,
            "vision": entry.vision,
            "audio": entry.audio,
        },
    }
