"""Settings of the Kafka clients: defaults, what goes over them, what is refused, what is hidden."""

import logging
import traceback

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streamfn.clock import ManualClock
from streamfn.config import REFUSED
from streamfn.connectors.kafka import KafkaLog
from streamfn.connectors.kafka_clients import Clients
from streamfn.connectors.kafka_settings import ClientKind, ClientLogger, Settings, SettingsOfAll
from streamfn.errors import ConfigError

NOWHERE = "127.0.0.1:1"
CANARY = "canary-5up3r"
SECRETS = {
    "kafka.sasl.password": CANARY,
    "kafka.ssl.key.pem": CANARY,
    "kafka.ssl.key.password": CANARY,
    "producer.sasl.oauthbearer.client.secret": CANARY,
    "kafka.sasl.jaas.config": CANARY,
}
KINDS: tuple[ClientKind, ...] = ("admin", "consumer", "reader", "producer")


def settings_of(kind: ClientKind, **given: str) -> Settings:
    """Settings of one client with the user's, written with __ for a dot."""
    return SettingsOfAll(NOWHERE, {k.replace("__", "."): v for k, v in given.items()}).of(kind)


def test_the_users_settings_go_over_ours() -> None:
    """Those of one kind go over those of all, both over the defaults; others do not get them."""
    given = {
        "kafka__client__id": "all",
        "consumer__client__id": "mine",
        "admin__socket__timeout__ms": "5",
    }
    assert settings_of("producer", **given)["client.id"] == "all"
    assert settings_of("consumer", **given)["client.id"] == "mine"
    assert settings_of("admin", **given)["socket.timeout.ms"] == "5"
    assert "socket.timeout.ms" not in settings_of("consumer", **given)
    assert settings_of("consumer", consumer__check__crcs="false")["check.crcs"] == "false"


def test_a_reader_is_a_consumer_without_a_group() -> None:
    """It takes the consumer's settings, but none about membership; old offsets do not stop it."""
    read = settings_of(
        "reader", consumer__group__protocol="consumer", consumer__fetch__min__bytes="7"
    )
    assert read["fetch.min.bytes"] == "7"
    assert read["auto.offset.reset"] == "earliest"
    assert not {"group.protocol", "session.timeout.ms"} & set(read)


def test_the_next_group_protocol_leaves_the_brokers_settings_out() -> None:
    """Under KIP-848 the client must not name an assignor or a session time-out."""
    classic, later = (
        settings_of("consumer"),
        settings_of("consumer", kafka__group__protocol="consumer"),
    )
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"
    assert not {"partition.assignment.strategy", "session.timeout.ms"} & set(later)
    assert later["auto.offset.reset"] == "error"


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_are_known_to_librdkafka(kind: ClientKind) -> None:
    """Each client can be made of its defaults, under both group protocols."""
    for given in ({}, {"consumer.group.protocol": "consumer"}):
        clients = Clients(NOWHERE, given, ManualClock())
        if kind == "consumer":
            clients.member("group").close()
        elif kind == "reader":
            clients.reader().close()
        elif kind == "admin":
            assert isinstance(clients.admin(), AdminClient)
        else:
            assert isinstance(clients.transactional("id"), Producer)
    plain = Clients(NOWHERE, {}, ManualClock()).plain(lambda error, message: None)
    assert isinstance(plain, Producer)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_break_a_guarantee_is_refused(name: str) -> None:
    """A program's settings are checked as those of the command line."""
    with pytest.raises(ConfigError, match=rf"'consumer\.{name}' is refused"):
        SettingsOfAll(NOWHERE, {f"consumer.{name}": "x"})


def test_a_setting_for_no_client_is_refused() -> None:
    """The first part of a name says which client it is for."""
    with pytest.raises(ConfigError, match=r"'sasl\.password' is for no client"):
        SettingsOfAll(NOWHERE, {"sasl.password": CANARY})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("foo.bar", "1", "'foo.bar' is unknown"),
        ("linger.ms", "abc", "'linger.ms' does not fit"),
        ("compression.type", CANARY, "'compression.type' does not fit"),
        ("security.protocol", CANARY, "'security.protocol' does not fit"),
        ("debug", CANARY, "'debug' does not fit"),
    ],
)
def test_a_setting_that_librdkafka_refuses_is_named(name: str, value: str, expected: str) -> None:
    """Neither the error nor its traceback shows the value."""
    for kind in ("kafka", "producer"):
        clients = Clients(NOWHERE, {f"{kind}.{name}": value}, ManualClock())
        with pytest.raises(ConfigError, match=expected) as caught:
            clients.transactional("id")
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None


def test_no_secret_is_ever_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Not when printed, not by an error, not in a log line, not with all of debug on."""
    caplog.set_level(logging.DEBUG)
    settings = SettingsOfAll(NOWHERE, SECRETS)
    shown = [repr(settings), *(f"{settings.of(kind)} {settings.of(kind)!r}" for kind in KINDS)]
    given = {**SECRETS, "kafka.security.protocol": "SASL_SSL", "kafka.sasl.mechanism": "PLAIN"}
    for more in ({}, {"kafka.sasl.username": "me"}, {"kafka.debug": "all"}):
        with pytest.raises(ConfigError) as caught:
            KafkaLog(NOWHERE, {**given, **more}, transactional_id="t", clock=ManualClock())
        shown += traceback.format_exception(caught.value)
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        shown += [frame for frame in frames.format() if __file__ not in frame]  # we have it here
    without_key = {
        "kafka.security.protocol": "SASL_PLAINTEXT",
        "kafka.sasl.mechanism": "PLAIN",
        "kafka.sasl.username": "me",
        "kafka.sasl.password": CANARY,
        "kafka.debug": "all",
    }
    clients = Clients(NOWHERE, without_key, ManualClock())
    producer = clients.transactional("id")
    for _ in range(20):
        producer.poll(0.01)
    ClientLogger(settings).log(logging.WARNING, "%s [%s] %s", "FAC", "name", f"x{CANARY}y")
    assert "FAC [name] x***y" in caplog.text
    assert CANARY not in caplog.text + "".join(shown)


def test_what_librdkafka_says_goes_to_our_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under its own name, and nothing to the terminal; a lost connection is no line of its own."""
    caplog.set_level(logging.INFO, "streamfn.kafka")
    producer = Clients(NOWHERE, {"kafka.fetch.min.bytes": "1"}, ManualClock()).transactional("id")
    for _ in range(20):
        producer.poll(0.01)
    assert {record.name for record in caplog.records} == {"streamfn.kafka"}
    assert "fetch.min.bytes is a consumer property" in caplog.text
    assert "Connection refused" not in caplog.text
    assert capfd.readouterr() == ("", "")
