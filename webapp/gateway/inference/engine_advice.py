"""Engines advise whoever starts them; here that is Modelyard, so their advice becomes what people here can do. Pure."""

import re

# "Start it with `--embeddings`" (llama.cpp), "requires --enable-auto-tool-choice and … to be set" (vLLM).
_START = re.compile(
    r"\s*(?:Please )?[Ss]tart (?:it|the server) with(?P<out>out)? `?(?P<flag>--[a-z][\w-]*)`?(?: flag)?\.?"
)
_FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]+")
# What a flag is called among a deployment's options.
_EMBEDDINGS = "Embeddings endpoint"
_OPTIONS = {"--embeddings": _EMBEDDINGS, "--embedding": _EMBEDDINGS, "--pooling": "Embedding pooling"}
_NO_OPTION = "Deployments here do not offer it."
_OWN = "These are flags of the engine; a deployment's options list what can be set here."


def followable(message: str) -> str:
    """The engine's message with advice that a reader of it can follow, or whose advice is said to be none."""
    found = _START.search(message)
    if found is None:
        return f"{_ended(message)} {_OWN}" if _FLAG.search(message) and _OWN not in message else message
    title = _OPTIONS.get(found["flag"])
    switch = "off" if found["out"] else "on"
    advice = f"An operator of its team can switch “{title}” {switch} in its options." if title else _NO_OPTION
    return f"{_ended(message[: found.start()])} {advice}{message[found.end() :]}".strip()


def _ended(sentence: str) -> str:
    sentence = sentence.rstrip()
    return sentence if not sentence or sentence.endswith((".", "!", "?")) else f"{sentence}."
