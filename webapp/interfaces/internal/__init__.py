"""Addresses for the gateways alone, on web's private socket."""
