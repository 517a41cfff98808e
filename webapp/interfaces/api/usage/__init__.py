"""Routers and schemas of usage."""
