"""Routers and schemas of operations."""
