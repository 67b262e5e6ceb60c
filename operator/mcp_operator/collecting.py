"""How often Python looks for garbage that refers to itself: `app` sets it once.

A full collection looks at every object there is, and a log of some hundred thousand events and thousands of streams are
millions: that is a tenth of a second or more in which nothing else runs. Nearly all garbage here is gone without it, by reference
counts; what refers to itself (a traceback and its frames, for instance) is rare, and may wait.
"""

import gc

_YOUNG = 1_000
_MIDDLE = 10
_OLD = 4_000
"""A full collection follows this many of the middle ones, each of which follows 10 of 1,000 new objects and looks at these: when
thousands of subscribers come back at once all of it is still in use, and 10,000 objects take some milliseconds."""


def collect_rarely() -> None:
    """Leave what exists now alone for good, and collect what comes less often than Python does by itself."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
