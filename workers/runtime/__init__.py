"""The border to Docker: a small protocol, its errors, and the adapter that speaks to a Docker engine."""
