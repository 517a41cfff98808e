"""Everything that people and programs touch: pages, API, live sockets, command line."""
