"""Long work in containers: rows with steps, progress, log and result."""
