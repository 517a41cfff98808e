"""What every long-lived row has in common: one lease, one table of moves, one loop, one sweep."""
