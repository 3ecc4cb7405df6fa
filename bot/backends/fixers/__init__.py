"""Deterministic fixers: they cost nothing and go first."""
