"""What every other part stands on: it knows no app."""
