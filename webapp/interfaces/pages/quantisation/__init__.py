"""Pages of quantisation."""
