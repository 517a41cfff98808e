"""The command line `modelyard`: all that the REST API does, from a terminal. No Django, nothing that starts slowly."""
