"""The two topics that gateways follow: who may ask, and what may be asked. A replica's move is no news of keys."""

PRINCIPALS = "gateway-principals"
ROUTES = "gateway-routes"
