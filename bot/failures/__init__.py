"""What failed, read from a log."""
