"""What holds for every test."""

from hypothesis import settings

# No property is a matter of time: the machine may be busy.
settings.register_profile("regreen")
settings.load_profile("regreen")
