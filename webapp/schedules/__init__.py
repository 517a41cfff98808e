"""Work that comes back by itself: schedules, their runs and gates, and who is told."""
