"""Hosts as workers and watcher reach them: the connection to the Docker engine, the engines behind it, images."""
