"""What hosts, accelerators and replicas use over time, and the charts of it."""
