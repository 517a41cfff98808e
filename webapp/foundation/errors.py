"""What services raise when they do not do what was asked.

ServiceError
├── Invalid      an input is wrong; `fields` says where
├── NotFound     what was named is not there, or not theirs to see; `fields` says which
├── NotAllowed   the person may not
├── Conflict     the state of things does not allow it now
└── Unavailable  something Modelyard needs is down
"""


class ServiceError(Exception):
    """A refusal that a person reads: what happened, and what to do next."""

    status = 400

    def __init__(self, what: str, advice: str = "", fields: dict[str, str] | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.fields = fields or {}

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()


class Invalid(ServiceError):
    status = 422


class NotFound(ServiceError):
    status = 404


class NotAllowed(ServiceError):
    status = 403


class Conflict(ServiceError):
    status = 409


class Unavailable(ServiceError):
    status = 503
