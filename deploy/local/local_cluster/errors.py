"""The one error that callers of this package handle."""


class ClusterError(Exception):
    """What the machine lacks or what went wrong, and what to do about it, in words for the person at the terminal."""
