"""Pages that span apps: home, playground."""
