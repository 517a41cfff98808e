"""Numbered changes: what happened to which subject, so that pages and processes can catch up."""
