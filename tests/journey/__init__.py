"""The whole product, started as people start it."""
