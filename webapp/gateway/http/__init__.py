"""HTTP/1.1 on both sides: clients' connections, and those to engines and to web. Knows neither keys nor models."""
