"""What all tests share.

Hypothesis tries the same examples in each run, and Ctrl-C is heard.
"""

import signal

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("ci")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore it, and so would the processes that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
