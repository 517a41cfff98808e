"""Models, artifacts (one concrete set of weight files) and their copies on hosts."""
