"""Pages that span rooms: home, playground."""
