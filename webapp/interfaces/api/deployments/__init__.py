"""Routers and schemas of deployments."""
