"""Settings as values, and how they are read."""
