"""Hosts and what is in them."""
