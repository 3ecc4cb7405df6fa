"""Our ports over PyGithub; nothing else talks to GitHub."""
