"""Routers and schemas of quantisation."""
