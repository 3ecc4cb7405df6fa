"""The HTTP shell: verify, store, answer."""
