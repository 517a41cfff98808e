"""Models, artifacts and what their files say about themselves."""
