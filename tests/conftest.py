"""What holds for all tests."""

from hypothesis import settings

# A busy machine is no reason to fail.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")
