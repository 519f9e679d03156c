"""In which form a record's key travels between two nodes, and how it is turned into another.

A key stays the bytes that were read until a stage changes it, and is decoded only where somebody
asks for it. The form is known when a chain is compiled, so that the common case (a text key that no
stage changes, a store under that key, a sink with the same type) costs nothing per record.
Invariant: None (a null key) stays None in every form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, get_origin

from streamfn.errors import StopError
from streamfn.serde import Serde, as_key_serde
from streamfn.state.keys import key_codec
from streamfn.windowed import Windowed


@dataclass(frozen=True, slots=True)
class KeyForm:
    """``serde`` given: the key is bytes written by it; None: the key is the decoded object."""

    serde: Serde[Any] | None

    @property
    def raw(self) -> bool:
        """True if the key is bytes."""
        return self.serde is not None


OBJECT = KeyForm(None)


def same(key: Any) -> Any:
    """Leave the key as it is; compilers leave the call out."""
    return key


def alike(one: Serde[Any], other: Serde[Any]) -> bool:
    """True if both write the same bytes for the same key."""
    return one is other or (
        one.name == other.name and one.type == other.type and one.form == other.form
    )


def to_object(form: KeyForm) -> Callable[[Any], Any]:
    """Return what turns a key of this form into the object a user sees."""
    if form.serde is None:
        return same
    decode = form.serde.decode
    return lambda key: None if key is None else decode(key)


def to_topic(form: KeyForm, serde: Serde[Any]) -> Callable[[Any], bytes | None]:
    """Return what turns a key of this form into the bytes of a topic's key."""
    if form.serde is not None and alike(form.serde, serde):
        return same
    encode = serde.encode
    if form.serde is not None:
        decode = form.serde.decode
        return lambda key: None if key is None else encode(decode(key))
    exact, checked = exact_class(serde), checked_encode(serde, "a key")

    def convert(key: Any) -> bytes | None:
        if key is None:
            return None
        return encode(key) if key.__class__ is exact else checked(key)

    return convert


def exact_class(serde: Serde[Any]) -> type | None:
    """The class whose instances the serde takes without a closer look; None if there is none."""
    if get_origin(serde.type) is Windowed:
        return cast("type", Windowed)
    return serde.type if isinstance(serde.type, type) and serde.type is not object else None


def checked_encode(serde: Serde[Any], where: str) -> Callable[[Any], bytes]:
    """Return an encoder for what is not of the very class: it must be readable as the type.

    A value of another type would be written without a word and fail where it is read.
    """
    encode, decode, name = serde.encode, serde.decode, serde.name
    if serde.type is Any:
        return encode

    def checked(value: Any) -> bytes:
        try:
            raw = encode(value)
            decode(raw)
        except StopError:  # a schema registry that does not answer: no value is at fault
            raise
        except Exception as error:
            got = type(value).__name__
            message = f"{where} takes {name}; got {got} {value!r:.100}; {error}"
            raise TypeError(message) from error
        return raw

    return checked


def to_store(form: KeyForm, key_type: object) -> Callable[[Any], bytes]:
    """Return what turns a key of this form (never None) into a store's ordered key."""
    codec = key_codec(key_type)
    if form.serde is None:
        return codec.encode
    if codec.raw and alike(form.serde, as_key_serde(key_type)):
        return same
    decode, encode = form.serde.decode, codec.encode
    return lambda key: encode(decode(key))
