"""Real parts that tests start for themselves: a Docker engine, a PostgreSQL server."""
