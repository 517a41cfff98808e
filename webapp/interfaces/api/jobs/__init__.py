"""Routers and schemas of jobs."""
