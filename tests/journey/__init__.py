"""The whole product, started as people start it. The letters in the file names are the order in which it is used."""
