"""Makes the configuration that a command line means: its options, over those of a properties file.

What comes in are options and the lines of ``--kafka-config FILE``; what goes out is a ``Config``.
Invariant: the value of a setting is never shown, also not where it is wrong: it may be a password.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from streamfn.config import Config

SERVERS = "bootstrap.servers"


def configured(
    state_dir: Path,
    broker: str | None = None,
    kafka_config: Path | None = None,
    options: list[str] | None = None,
    **given: Any,
) -> "Config":
    """Put options together; ``-o`` wins over the file, and ``--broker`` over an address in it.

    Raises:
        ConfigError: a setting is unknown, does not fit or is refused; a file without a broker.
    """
    from streamfn.config import Config

    lines = read_properties(kafka_config) if kafka_config else {}
    address = broker or lines.get(SERVERS, "")
    if kafka_config and not address:
        message = (
            f"--kafka-config {str(kafka_config)!r} is of no use; got no broker; give "
            f"--broker HOST:PORT, or {SERVERS} in the file"
        )
        raise ConfigError(message)
    passed = [option_of(key, value) for key, value in lines.items() if key != SERVERS]
    return Config.parse([*passed, *(options or [])], state_dir=state_dir, broker=address, **given)


def option_of(key: str, value: str) -> str:
    """Write a line of the file as an option; unless it says for which clients, it is for all."""
    from streamfn.config import CLIENTS

    is_for_one = key.partition(".")[0] in CLIENTS
    return f"{key if is_for_one else f'kafka.{key}'}={value}"


def read_properties(path: Path) -> dict[str, str]:
    """Read ``name=value`` lines; empty ones and those that begin with # or ! are comments.

    Raises:
        ConfigError: the file cannot be read, or a line has no value; the line is not shown.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        message = f"--kafka-config {str(path)!r} cannot be read; got {got}; name a text file"
        raise ConfigError(message) from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip()[0] in "#!":
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            message = (
                f"line {number} of --kafka-config {str(path)!r} is no setting; got no '='; write "
                "name=value, or # in front of a comment"
            )
            raise ConfigError(message)
        found[key.strip()] = value.strip()
    return found
