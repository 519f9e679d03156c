"""What an error of librdkafka means: its class, its words, and since when nobody answers."""

import logging

import pytest
from confluent_kafka import KafkaError

from streamfn.clock import ManualClock
from streamfn.connectors.kafka_errors import HOPELESS, REFUSED, RIGHTS, STALE, Connection
from streamfn.connectors.kafka_settings import SettingsOfAll
from streamfn.errors import (
    AbortedError,
    FencedError,
    LogError,
    RefusedError,
    UnknownOutcomeError,
)

BROKER = "broker:9092"
REFUSED_CONNECTION = (
    "broker:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused "
    "(after 0ms in state CONNECT, 1 identical error(s) suppressed)"
)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves when told."""
    return ManualClock()


@pytest.fixture
def connection(clock: ManualClock) -> Connection:
    """A connection that has neither failed nor answered yet."""
    settings = SettingsOfAll(BROKER, {"kafka.sasl.password": "canary"})
    return Connection(BROKER, settings, clock)


def refuse(connection: Connection) -> None:
    """Let the broker refuse a connection."""
    connection.failed(KafkaError(KafkaError._TRANSPORT, REFUSED_CONNECTION))


# since when, and why
def test_silence_is_told_since_when_and_why(connection: Connection, clock: ManualClock) -> None:
    """The first error since the last answer counts; that all brokers are down says nothing new."""
    refuse(connection)
    clock.advance_ms(12_000)
    refuse(connection)
    connection.failed(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert (
        connection.silence() == "broker broker:9092 does not answer since 12 s: Connection refused"
    )
    error = connection.error(KafkaError(KafkaError._TIMED_OUT), "topics cannot be listed")
    assert error.retriable
    assert str(error).startswith(f"topics cannot be listed; {connection.silence()}; ")


def test_an_answer_ends_the_silence(connection: Connection, clock: ManualClock) -> None:
    """Afterwards the count begins anew."""
    refuse(connection)
    clock.advance_ms(5_000)
    connection.answered()
    assert "since" not in connection.silence()
    clock.advance_ms(5_000)
    refuse(connection)
    clock.advance_ms(1_000)
    assert "since 1 s" in connection.silence()


def test_a_running_log_warns_now_and_then(
    connection: Connection, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the first answer errors tell it; later, who only polls must be told by a warning."""
    caplog.set_level(logging.INFO)
    refuse(connection)
    assert not caplog.records
    connection.answered()
    for _ in range(40):
        refuse(connection)
        clock.advance_ms(1_000)
    connection.answered()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "broker broker:9092 does not answer since 0 s: Connection refused",
        "broker broker:9092 does not answer since 30 s: Connection refused",
        "broker broker:9092 answers again",
    ]


@pytest.mark.parametrize("code", sorted(HOPELESS))
def test_a_connection_that_cannot_work_is_given_up(connection: Connection, code: int) -> None:
    """A wrong password, certificate or address is an error at once, with what to check."""
    connection.failed(
        KafkaError(code, "ssl://broker:9092/bootstrap: no use (after 1ms in state X)")
    )
    with pytest.raises(LogError, match=r"broker:9092 cannot be used; no use; check ") as caught:
        connection.check()
    assert not caught.value.retriable


def test_a_connection_that_has_worked_is_not_given_up(connection: Connection) -> None:
    """What has answered once may do so again."""
    connection.answered()
    connection.failed(KafkaError(KafkaError._AUTHENTICATION, "broker:9092/1: wrong password"))
    connection.check()


def test_one_bad_address_of_several_is_no_reason_to_give_up(clock: ManualClock) -> None:
    """Only if every one given is wrong there is nobody to ask."""
    both = Connection("one:1,two:2", SettingsOfAll("one:1,two:2", {}), clock)
    both.failed(KafkaError(KafkaError._RESOLVE, "one:1/bootstrap: Failed to resolve 'one:1'"))
    both.check()
    both.failed(KafkaError(KafkaError._RESOLVE, "two:2/bootstrap: Failed to resolve 'two:2'"))
    with pytest.raises(LogError, match="cannot be used"):
        both.check()


def test_errors_are_one_line_without_secrets(connection: Connection) -> None:
    """Whatever librdkafka writes into an error."""
    error = connection.error(KafkaError(KafkaError._FAIL, "bad\n  canary\tthing"), "it failed")
    assert str(error) == "it failed; bad *** thing; see the broker's log"


# classes
@pytest.mark.parametrize("code", sorted(REFUSED))
def test_a_records_fault_is_refused_with_its_cure(connection: Connection, code: int) -> None:
    """Also where the transaction has to be aborted for it."""
    for abort in (False, True):
        error = KafkaError(code, "text", txn_requires_abort=abort)
        found = connection.of_producer(error, "records are not taken")
        assert isinstance(found, RefusedError)
        assert str(found) == f"records are not taken; text; {REFUSED[code]}"


@pytest.mark.parametrize(
    "code",
    [
        *STALE,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.TRANSACTION_ABORTABLE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.INVALID_TXN_STATE,
        KafkaError._PURGE_QUEUE,
    ],
)
def test_what_a_new_producer_cures_is_aborted(connection: Connection, code: int) -> None:
    """Nobody's fault: the records are processed again."""
    for error in (
        KafkaError(code, "x", txn_requires_abort=True),
        KafkaError(code, "x", fatal=True),
    ):
        found = connection.of_producer(error, "it failed")
        assert type(found) is AbortedError
        assert not found.retriable


@pytest.mark.parametrize("code", [KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH])
def test_a_newer_producer_fences(connection: Connection, code: int) -> None:
    """In each call, ``commit`` included."""
    error = KafkaError(code, "x", fatal=True)
    assert isinstance(connection.of_producer(error, "it failed"), FencedError)
    assert isinstance(connection.of_commit(error), FencedError)


def test_a_time_out_may_be_tried_again(connection: Connection) -> None:
    """Nothing is committed by any call but ``commit``; of that one nothing is known."""
    error = KafkaError(KafkaError._TIMED_OUT, "timed out", retriable=True)
    found = connection.of_producer(error, "positions are not taken")
    assert (type(found), found.retriable) == (LogError, True)
    for unknown in (connection.of_commit(error), connection.of_group(error)):
        assert (type(unknown), unknown.retriable) == (UnknownOutcomeError, True)


def test_a_commit_is_known_only_if_the_client_says_so(connection: Connection) -> None:
    """Aborted if it must be aborted; anything else that is no time-out is unknown for good."""
    aborted = KafkaError(KafkaError.ILLEGAL_GENERATION, "x", txn_requires_abort=True)
    assert type(connection.of_commit(aborted)) is AbortedError
    for code in (KafkaError._STATE, KafkaError._FATAL, KafkaError.UNKNOWN, KafkaError._FAIL):
        unknown = connection.of_commit(KafkaError(code, "x"))
        assert (type(unknown), unknown.retriable) == (UnknownOutcomeError, False)


@pytest.mark.parametrize("code", sorted(RIGHTS))
def test_missing_rights_are_named(connection: Connection, code: int) -> None:
    """With what they are on, and how to get them."""
    found = connection.error(KafkaError(code, "denied"), "it failed")
    assert str(found) == (
        f"it failed; denied; grant this user its rights on {RIGHTS[code]} "
        "('streamfn acls' prints how)"
    )
    assert not found.retriable


@pytest.mark.parametrize("code", sorted(STALE))
def test_a_stale_member_commits_no_positions(connection: Connection, code: int) -> None:
    """Also without transactions."""
    assert type(connection.of_group(KafkaError(code, "x"))) is AbortedError
