"""Short pieces of work, safe to deliver twice, late or after a crash."""
