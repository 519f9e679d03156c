"""Ctrl-C at every moment in which Python lets one in.

CPython runs signal handlers when a function begins and when a call into C returns; a profile
function is called at the same moments and raises there, at the first, the second, and so on.
Invariant: each moment of a piece of work is met once before it is done undisturbed.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def interrupted(work: Callable[[], object], moment: int, but_in: str = "") -> bool:
    """Work, with Ctrl-C at a moment; False if it was done before that.

    A profile function is also called where a generator is closed by the garbage collector; Python
    runs no signal handler there, and drops what is raised.

    Args:
        work: what is done.
        moment: at which of its moments, from 1 on.
        but_in: a file whose own functions, and what they call, are left in peace.
    """
    passed = 0

    def raises(frame: FrameType, event: str, _what: Any) -> None:
        nonlocal passed
        callers = frame, frame.f_back or frame
        if but_in and any(each.f_code.co_filename == but_in for each in callers):
            return
        if event in ("call", "c_return"):
            passed += 1
            if passed == moment:
                sys.setprofile(None)
                raise KeyboardInterrupt

    try:
        sys.setprofile(raises)
        work()
    except KeyboardInterrupt:
        assert passed >= moment
    finally:
        sys.setprofile(None)
    return passed >= moment
