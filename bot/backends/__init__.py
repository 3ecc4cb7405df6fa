"""Things that can change code, all in one shape."""
