"""What is written down: usage records, access lines, metrics, counts of refusals."""
