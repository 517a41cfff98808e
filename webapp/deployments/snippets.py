"""Ready-made code for one endpoint. Pure."""

import json
from typing import NamedTuple

KEY = "YOUR_API_KEY"


class Snippet(NamedTuple):
    name: str
    language: str
    text: str


def snippets(base_url: str, name: str, key: str = KEY) -> list[Snippet]:
    """curl, Python and JavaScript that chat with the deployment `name`; they work as shown once the key is in.

    `base_url` is what comes before /v1: this Modelyard's address, or one deployment's own.
    """
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello!"}]})
    curl = (
        f"curl {base_url}/v1/chat/completions \\\n"
        f"  -H 'Authorization: Bearer {key}' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )
    python = (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{base_url}/v1", api_key="{key}")\n'
        f'reply = client.chat.completions.create(model="{name}", messages=[{{"role": "user", "content": "Hello!"}}])\n'
        "print(reply.choices[0].message.content)"
    )
    javascript = (
        f'const reply = await fetch("{base_url}/v1/chat/completions", {{\n'
        '  method: "POST",\n'
        f'  headers: {{ Authorization: "Bearer {key}", "Content-Type": "application/json" }},\n'
        f'  body: JSON.stringify({{ model: "{name}", messages: [{{ role: "user", content: "Hello!" }}] }}),\n'
        "});\n"
        "console.log((await reply.json()).choices[0].message.content);"
    )
    return [
        Snippet("curl", "shell", curl),
        Snippet("Python", "python", python),
        Snippet("JavaScript", "javascript", javascript),
    ]
