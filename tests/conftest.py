"""What holds for every test."""

from hypothesis import settings

# No property is a matter of time: the machine may be busy.
settings.register_profile("regreen", deadline=None)
settings.load_profile("regreen")
