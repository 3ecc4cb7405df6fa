"""Which backend does the work."""
