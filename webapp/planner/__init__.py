"""What fits where, and why: numbers in, numbers and reasons out (pure; see the modules)."""
