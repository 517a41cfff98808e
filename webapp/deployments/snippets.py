"""Ready-made code for one endpoint. Pure."""

import json
from typing import Any, NamedTuple

KEY = "YOUR_API_KEY"


class Snippet(NamedTuple):
    name: str
    language: str
    text: str


def snippets(base_url: str, name: str, key: str = KEY, *, embeddings: bool = False) -> list[Snippet]:
    """curl, Python and JavaScript that ask the deployment `name` for an answer, or for a vector; they work as shown
    once the key is in.

    `base_url` is what comes before /v1: this Modelyard's address, or one deployment's own.
    """
    way = _EMBEDDINGS if embeddings else _CHAT
    url = f"{base_url}/v1/{way.path}"
    body = json.dumps({"model": name, **way.asked})
    curl = (
        f"curl {url} \\\n  -H 'Authorization: Bearer {key}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"
    )
    python = (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{base_url}/v1", api_key="{key}")\n'
        f'reply = client.{way.path.replace("/", ".")}.create(model="{name}", {way.in_python})\n'
        f"print(reply.{way.answer})"
    )
    javascript = (
        f'const reply = await fetch("{url}", {{\n'
        '  method: "POST",\n'
        f'  headers: {{ Authorization: "Bearer {key}", "Content-Type": "application/json" }},\n'
        f'  body: JSON.stringify({{ model: "{name}", {way.in_javascript} }}),\n'
        "});\n"
        f"console.log((await reply.json()).{way.answer});"
    )
    return [
        Snippet("curl", "shell", curl),
        Snippet("Python", "python", python),
        Snippet("JavaScript", "javascript", javascript),
    ]


class _Way(NamedTuple):
    """What is asked, in three languages, and where the answer stands in the reply."""

    path: str
    asked: dict[str, Any]
    in_python: str
    in_javascript: str
    answer: str


_CHAT = _Way(
    "chat/completions",
    {"messages": [{"role": "user", "content": "Hello!"}]},
    'messages=[{"role": "user", "content": "Hello!"}]',
    'messages: [{ role: "user", content: "Hello!" }]',
    "choices[0].message.content",
)
_EMBEDDINGS = _Way("embeddings", {"input": "Hello!"}, 'input="Hello!"', 'input: "Hello!"', "data[0].embedding")
