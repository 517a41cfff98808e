"""The name of a replica's container: what `docker ps` shows is what the pages say. Pure; who it is, labels tell."""

import hashlib

# Docker names may be longer; these still stand beside each other in a terminal.
MOST_TEAM, MOST_DEPLOYMENT = 24, 48


def container_name(team: str, deployment: str, ordinal: int, generation: int, attempt: int) -> str:
    """`team` by its slug. No two replicas that are there at the same time have one name, nor two of their attempts.

    A slug holds dashes and no underscores, so with the former as the latter the first dash ends the team.
    """
    owner = _short(team.replace("-", "_"), MOST_TEAM)
    return f"modelyard-{owner}-{_short(deployment, MOST_DEPLOYMENT)}-{ordinal}-g{generation}-a{attempt}"


def _short(word: str, most: int) -> str:
    """The word, or its beginning with what tells it from others that begin alike."""
    if len(word) <= most:
        return word
    return f"{word[: most - 9]}.{hashlib.sha256(word.encode()).hexdigest()[:8]}"
