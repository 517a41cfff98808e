"""Who is let in: limits, room for bodies, permissions, and the words of a refusal."""
