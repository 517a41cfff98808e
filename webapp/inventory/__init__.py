"""Hosts, their accelerators, and who holds which byte of their memory."""
