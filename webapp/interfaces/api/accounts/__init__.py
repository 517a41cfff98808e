"""Routers and schemas of accounts."""
