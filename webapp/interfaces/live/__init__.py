"""Sockets that keep open pages true."""
