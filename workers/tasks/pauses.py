"""How long to wait after a step: seconds, None for "until somebody asks", or GO_ON."""

Pause = float | None

# Nothing to wait for: look and decide again now.
GO_ON = -1.0
