"""Git, isolated trees, the sandbox and the gatekeeper."""
