"""Policies of a run: what happens next, and what people read."""
