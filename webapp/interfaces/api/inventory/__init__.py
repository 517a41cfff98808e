"""Routers and schemas of inventory."""
