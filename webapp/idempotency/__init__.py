"""Requests that are sent twice and carried out once."""
