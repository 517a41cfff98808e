"""What is served where: deployments, replicas, their states and their events."""
