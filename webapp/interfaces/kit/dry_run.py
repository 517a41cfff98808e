"""Ask a service what it would refuse, without a second copy of its rules."""

from collections.abc import Callable

from django.db import transaction


def simulate(verb: Callable[[], object]) -> None:
    """Carry the verb out and take it back: raises what it raises; nothing is kept, sent or announced.

    Only for verbs that write to the database alone and tell others on commit, as all our services do.
    """
    with transaction.atomic():
        verb()
        transaction.set_rollback(True)
