"""What `make run` is made of: environment, engine, images, supervisor, first run."""
