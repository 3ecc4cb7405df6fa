"""A GitHub on loopback, with real git, real CI commands and a scripted model."""
