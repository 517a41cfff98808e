"""What goes wrong on the command line, and the exit code of each.

Failed
├── Problem      1  Modelyard refused
├── Usage        2  wrong usage
├── Unreachable  3  server unreachable
└── TimedOut     4  timed out
"""

DIFFERENT = 3  # `apply --exit-code`: there are changes to make


class Failed(Exception):
    code = 1


class Problem(Failed):
    """An answer that is a refusal."""

    def __init__(self, status: int, title: str, detail: str = "", request_id: str = "") -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.detail = detail
        self.request_id = request_id

    def __str__(self) -> str:
        lines = [self.title]
        if self.detail and self.detail != self.title:
            lines.append(self.detail)
        if self.request_id:
            lines.append(f"request {self.request_id}, status {self.status}")
        return "\n".join(lines)


class Usage(Failed):
    code = 2


class Unreachable(Failed):
    code = 3


class TimedOut(Failed):
    code = 4
