"""One asyncio loop that watches all hosts: events, logs, pulls, readiness. It wakes others and decides little."""
