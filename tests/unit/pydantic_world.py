"""pydantic models of most kinds, for the tests about them."""

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field


class Color(Enum):
    """An enum in a model."""

    RED = "red"


class Line(BaseModel):
    """A model inside another."""

    sku: str
    count: int = Field(default=1, ge=0)


class Order(BaseModel):
    """A model with most kinds of fields."""

    id: UUID
    customer: str = Field(alias="customerName")
    lines: list[Line] = []
    price: float = 0.0
    exact: Decimal = Decimal(0)
    at: datetime | None = None
    day: date | None = None
    raw: bytes = b""
    tags: set[str] = set()
    pair: tuple[int, str] = (0, "")
    color: Color = Color.RED
    address: IPv4Address | None = None
    more: dict[int, str] = {}


class Unknown:
    """A class that nobody can write."""


class Point(BaseModel, frozen=True):
    """A model that cannot be changed."""

    x: int
    y: int = 0


class Node(BaseModel):
    """A model that contains itself."""

    name: str = ""
    children: "list[Node]" = []


class Strict(BaseModel):
    """A model that takes nothing for something else."""

    model_config = ConfigDict(strict=True)
    at: datetime
    pair: tuple[int, ...] = ()
    names: frozenset[str] = frozenset()


class Basket(msgspec.Struct):
    """A struct with models inside."""

    lines: list[Line] = []
    by_name: dict[str, Line] = {}
    first: Line | None = None
