"""Where the shells report: logs, metrics, Sentry."""
