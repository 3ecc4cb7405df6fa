"""HTTP in: the intake of webhooks, health and metrics."""
