"""The settings of a command line: a file's, and options over them; values are never shown."""

from pathlib import Path

import pytest

from streamfn.cli.settings import configured, read_properties
from streamfn.errors import ConfigError

STATE = Path("state")


def test_options_win_over_the_file(tmp_path: Path) -> None:
    """The file is for all clients unless a line says for which; an address in it will do."""
    file = tmp_path / "client.properties"
    file.write_text(
        "# a comment\n! another\n\nbootstrap.servers = a:1\nsasl.password=x=y \n"
        "consumer.session.timeout.ms=1\nsocket.timeout.ms=5\n"
    )
    config = configured(STATE, None, file, ["kafka.socket.timeout.ms=6", "commit_interval_ms=7"])
    assert (config.broker, config.commit_interval_ms, config.state_dir) == ("a:1", 7, STATE)
    assert dict(config.client_settings) == {
        "kafka.sasl.password": "x=y",
        "consumer.session.timeout.ms": "1",
        "kafka.socket.timeout.ms": "6",
    }
    assert configured(STATE, "b:2", file).broker == "b:2"
    assert configured(STATE).broker == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bootstrap.servers=a:1\nsasl.password: hunter2\n", "line 2 of"),
        ("=hunter2\n", "got no '='; write name=value"),
        ("sasl.password=hunter2\n", "got no broker; give --broker HOST:PORT"),
        ("bootstrap.servers=a:1\nisolation.level=hunter2\n", "'kafka.isolation.level' is refused"),
        ("bootstrap.servers=a:1\ngroup.instance.id=hunter2\n", "is refused"),
    ],
)
def test_wrong_files_are_refused_without_their_values(tmp_path: Path, text: str, said: str) -> None:
    """A line that is none may be half a password."""
    file = tmp_path / "client.properties"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        configured(STATE, None, file)
    assert "hunter2" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, bytes of another encoding."""
    with pytest.raises(ConfigError, match="cannot be read; got Is a directory"):
        read_properties(tmp_path)
    file = tmp_path / "latin"
    file.write_bytes("a=ä".encode("latin-1"))
    with pytest.raises(ConfigError, match="bytes that are not UTF-8"):
        read_properties(file)
