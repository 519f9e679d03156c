"""Types and schemas that the tests of Avro share."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict
from uuid import UUID, uuid5

import msgspec

from streamfn.serde.avro_types import schema_of

Money = Annotated[Decimal, msgspec.Meta(extra={"precision": 9, "scale": 2})]
Local = Annotated[datetime, msgspec.Meta(tz=False)]
HOME = UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime(2013, 1, 1, 12, 0, 0, 123456, UTC)


class Carrier(Enum):
    """Values that are names: an enum in Avro."""

    UNITED = "UA"
    AMERICAN = "AA"


class Class(IntEnum):
    """Whole numbers: a long."""

    FIRST = 1
    SECOND = 2


class Leg(NamedTuple):
    """A record in Avro, a list for msgspec."""

    airport: str
    minutes: int = 0


class Seat(TypedDict):
    """A record whose values are dicts."""

    row: int
    letter: str


LEAD = Leg("EWR", 3)


@dataclass
class Crew:
    """A record with defaults of all kinds."""

    names: list[str] = field(default_factory=list[str])
    home: UUID = HOME
    since: datetime = NOON
    badge: bytes = b"\xff\x00"
    pay: Money = Decimal("12.50")
    lead: Leg = LEAD


class Flight(msgspec.Struct, rename="camel"):
    """All that the mapping promises."""

    carrier: Carrier
    travel_class: Class
    legs: list[Leg]
    seats: dict[str, Seat]
    at: datetime
    local: Local
    day: date
    clock: time
    length: timedelta
    price: Money
    flight_id: UUID
    tags: frozenset[str]
    kind: Literal["a", "b"]
    crew: Crew
    delay: float | None
    next: Optional["Flight"] = None
    number: int | None = 7


def flight(**changes: Any) -> Flight:
    """A flight with changes."""
    made = Flight(
        carrier=Carrier.UNITED,
        travel_class=Class.SECOND,
        legs=[Leg("EWR", 1), Leg("IAH")],
        seats={"me": {"row": 3, "letter": "A"}},
        at=NOON,
        local=datetime(2013, 1, 1, 7),  # noqa: DTZ001  # a local time has no zone
        day=date(2013, 1, 1),
        clock=time(12, 30, 0, 5),
        length=timedelta(hours=3, microseconds=1),
        price=Decimal("99.90"),
        flight_id=uuid5(HOME, "1"),
        tags=frozenset({"late", "full"}),
        kind="a",
        crew=Crew(),
        delay=None,
    )
    return msgspec.structs.replace(made, **changes)


def definition(type_: Any, **more: Any) -> Any:
    """The schema that a type gets, as others see it."""
    return schema_of(type_, **more).definition


SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Leg",
    "namespace": "air",
    "fields": [
        {"name": "airport", "type": "string"},
        {"name": "minutes", "type": "long", "default": 5},
    ],
}
