"""What holds for all tests."""

from hypothesis import settings

# How long one example takes says nothing on a busy machine.
settings.register_profile("mcp-operator", deadline=None)
settings.load_profile("mcp-operator")
