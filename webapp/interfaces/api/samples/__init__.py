"""Routers and schemas of samples."""
