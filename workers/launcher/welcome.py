"""What `make run` prints at the end, and the question it has answered first."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

from webapp.foundation import paths
from workers.launcher import starter

# A small model answers this one rightly with every template that llama.cpp has for it.
QUESTION = "What is the capital of France? Answer in one sentence."
ASK_LIMIT_S = 60


def ask(url: str, key: str) -> str:
    """One completion through the gateway; its text. Raises URLError, OSError or ValueError."""
    body = {
        "model": starter.NAME,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 32,
        "temperature": 0,
    }
    request = urllib.request.Request(  # noqa: S310 - our own address
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ASK_LIMIT_S) as answer:  # noqa: S310
        return str(json.load(answer)["choices"][0]["message"]["content"]).strip()


def print_welcome(url: str, admin: dict[str, Any], elapsed_s: float, *, has_starter: bool) -> None:
    """Address, sign-in, key, a curl line and four lines of Python that work exactly as printed."""
    # Without the name Django asks for a person called like the system's user.
    again = f"(as before; new: .venv/bin/python manage.py changepassword {admin['username']})"
    password = admin["password"] or ("(the one you set)" if admin["is_new"] else again)
    lines = ["", f"Modelyard is ready after {elapsed_s:.0f} s.", "", f"  Dashboard  {url}"]
    lines += [f"  Sign in    {admin['username']}", f"  Password   {password}"]
    if admin["key"]:
        lines += [f"  API key    {admin['key']}", "", "  Password and key are shown this once."]
    if has_starter and admin["key"]:
        lines += ["", *examples(url, admin["key"])]
    elif has_starter:
        lines += [f"  Model      {starter.NAME}, with the key of the first run or a new one from {url}/keys"]
    lines += ["", "  Ctrl-C stops Modelyard and leaves the engines; `make down` stops those too."]
    if os.environ.get("MODELYARD_CONSOLE") != "all":
        lines += [f"  What the processes say is in {paths.log_dir()}; MODELYARD_CONSOLE=all shows it here."]
    lines += [""]
    print("\n".join(lines), flush=True)


def examples(url: str, key: str) -> list[str]:
    """A curl command and four lines of Python, to be pasted as they are."""
    # Without this a model of this size tells something else each time.
    body = {"model": starter.NAME, "temperature": 0, "messages": [{"role": "user", "content": QUESTION}]}
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in body.items())
    return [
        f"curl {url}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\",
        f"  -d '{json.dumps(body)}'",
        "",
        "from openai import OpenAI  # pip install openai",
        f'client = OpenAI(base_url="{url}/v1", api_key="{key}")',
        f"answer = client.chat.completions.create({arguments})",
        "print(answer.choices[0].message.content)",
    ]
