"""One gateway process: its start and end, its listening port, its poll, its time limits, and where a request goes."""
