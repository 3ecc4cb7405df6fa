"""Regreen turns red pull requests green; `docs/architecture.md` shows the road and its rooms."""
