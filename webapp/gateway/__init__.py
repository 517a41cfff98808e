"""The reverse proxy: relays inference to engines and everything else to web. Imports no Django, does no ORM."""
