"""Pure readers of what hosts report: text or a decoded reply in, facts out."""
