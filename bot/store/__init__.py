"""What survives a restart: deliveries, runs and the audit trail, in SQLite or PostgreSQL."""
