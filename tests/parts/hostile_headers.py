"""What attackers put where a key belongs: statements, controls, other encodings, lengths, halves of real keys."""

import random
from collections.abc import Iterator

NAMES = ("Authorization", "X-API-Key", "api-key", "Cookie", "X-Request-Id", "Idempotency-Key", "X-Forwarded-For")
PIECES = (
    "' OR '1'='1", '" OR ""="', "'; DROP TABLE accounts_apikey; --", "' UNION SELECT key FROM accounts_apikey --", "%",
    "_", "\\", "%00", "%0d%0aX-Admin: 1", "${jndi:ldap://x/y}", "{{7*7}}", "<script>alert(1)</script>",
    "Bearer", "Basic", "bearer ", "my_", "myp_", "my_________", "my_adaadaad_", "\t", " ", ",", ";", "=", ":", "\x00",
    "\x1b[2J", "\x7f", "\x80", "\xff", "\xc0\xaf", "\xe2\x80\xae", "\xed\xa0\x80", "null", "None", "1e999", "-1",
    "../../etc/passwd", "9" * 40, "a" * 200, "sessionid=", "csrftoken=",
)  # fmt: skip


def hostile_headers(count: int, key: str, seed: int = 20261130) -> Iterator[tuple[str, str]]:
    """`count` times a name and a value of up to 64 Ki characters (latin-1); the same for the same seed.

    `key` is a real key of which parts are used, and never the whole of it alone.
    """
    rng = random.Random(seed)
    for _ in range(count):
        parts = [rng.choice(PIECES) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.3:
            cut = rng.randint(1, len(key) - 1)
            parts.insert(rng.randint(0, len(parts)), key[:cut] if rng.random() < 0.5 else key[cut:])
        if rng.random() < 0.3:
            parts.append("".join(chr(rng.randint(0, 255)) for _ in range(rng.randint(1, 60))))
        if rng.random() < 0.01:
            parts.append("k" * rng.choice((8_000, 20_000, 65_536)))
        rng.shuffle(parts)
        yield rng.choice(NAMES), "".join(parts)
