"""What keeps a job's container from being made."""

from webapp.foundation.errors import ServiceError


class CannotBegin(Exception):
    """The job cannot have its container; the refusal says why."""

    def __init__(self, refusal: ServiceError) -> None:
        super().__init__(refusal.what)
        self.refusal = refusal
