"""How a user tests a topology: the driver on virtual time, and the pytest plugin."""

from streamfn.testing.driver import TestDriver

__all__ = ["TestDriver"]
