"""Routers and schemas of catalog."""
