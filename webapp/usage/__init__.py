"""Token records that the gateways deliver."""
