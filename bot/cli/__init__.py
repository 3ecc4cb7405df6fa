"""The command line; each command is a short module of its own."""
