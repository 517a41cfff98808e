"""One request for inference, from its body to its usage."""
