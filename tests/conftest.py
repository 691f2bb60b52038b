"""What holds for all tests."""

import signal

import pytest
from hypothesis import settings

# A busy machine is no reason to fail.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

# Whoever starts the tests in the background may have it ignored, and programs would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What boots kernels takes minutes: it begins first, lest one worker wait for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("real") is None)
