"""What the gateway knows: who may ask, what a name means, which replicas take requests."""
