"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# How long one example takes, to make or to try, says nothing on a busy machine.
settings.register_profile("mcp-operator", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mcp-operator")
