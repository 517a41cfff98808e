"""Routers and schemas of schedules."""
