"""Labels of hosts, and of what is to be placed on them: `key` or `key=value`, as Docker and Kubernetes write them."""

import re
from collections.abc import Iterable

from webapp.foundation.errors import Invalid

_SIDE = r"[a-z0-9](?:[a-z0-9._/-]{0,61}[a-z0-9])?"
_LABEL = re.compile(f"{_SIDE}(?:={_SIDE})?")
RULE = (
    "A label is key or key=value: lower-case letters, digits and . - _ / inside, at most 63 characters each, "
    "like gpu=a100 or rack-3."
)


def checked(labels: Iterable[str], most: int, field: str, known: Iterable[str] = ()) -> tuple[str, ...]:
    """The labels without blanks and repetitions, in the order given. `known` ones stay, however they are written.

    Raises Invalid about `field`.
    """
    found = tuple(dict.fromkeys(label.strip() for label in labels if label.strip()))
    if len(found) > most:
        message = f"At most {most} labels."
        raise Invalid(message, fields={field: message})
    wrong = [label for label in found if label not in known and not _LABEL.fullmatch(label)]
    if wrong:
        message = f"{wrong[0][:70]!r} is no label. {RULE}"
        raise Invalid(message, fields={field: message})
    return found
