"""Members of a group on a real Kafka: tokens are shared out, handed over, lost and refused."""

import threading
import time
from collections.abc import Callable

import pytest

from streamfn.clock import SystemClock
from streamfn.connectors.kafka import KafkaLog
from streamfn.connectors.log import Committed, Log
from streamfn.errors import AbortedError, LogError, StopError
from streamfn.record import TopicPartition
from tests.broker.test_kafka_log import OpenLog, log, open_log, poll_until
from tests.kafka_broker import OwnBroker
from tests.kafka_settings import Address
from tests.unit.log_contract import (
    DEADLINE_S,
    Listening,
    append,
    columns,
    join,
    numbered,
    poll_to_the_end,
    rows_of,
)

__all__ = ["log", "open_log"]  # fixtures
QUICK = {"consumer.session.timeout.ms": "6000", "consumer.heartbeat.interval.ms": "300"}
PROTOCOLS = pytest.mark.parametrize(
    "settings", [QUICK, {"consumer.group.protocol": "consumer"}], ids=["classic", "kip848"]
)


class Member(Listening):
    """A listener that knows which tokens it has."""

    def __init__(self, log: KafkaLog, group: str, tokens: int) -> None:
        super().__init__()
        self.log, self.tokens = log, set[int]()
        log.join(group, tokens, self)

    def assigned(self, tokens: list[int]) -> None:
        """Take tokens."""
        super().assigned(tokens)
        self.tokens |= set(tokens)

    def revoked(self, tokens: list[int]) -> None:
        """Give tokens."""
        super().revoked(tokens)
        self.tokens -= set(tokens)

    def lost(self, tokens: list[int]) -> None:
        """Lose tokens."""
        super().lost(tokens)
        self.tokens -= set(tokens)


def poll_all_until(members: list[Member], done: Callable[[], bool]) -> None:
    """Poll all members in turn until something is so."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline_s, "not so in time"
        for member in members:
            member.log.poll(0.02)


@PROTOCOLS
def test_members_share_and_hand_over(
    open_log: OpenLog, name: str, settings: dict[str, str]
) -> None:
    """Two members share the tokens without moving more than needed; who stays gets all of them."""
    first = Member(open_log(settings=settings), name, 4)
    poll_all_until([first], lambda: first.tokens == {0, 1, 2, 3})
    second = Member(open_log(settings=settings), name, 4)
    poll_all_until([first, second], lambda: len(first.tokens) == len(second.tokens) == 2)
    assert first.tokens | second.tokens == {0, 1, 2, 3}
    assert len(first.told) == 2  # two tokens were never taken away
    first.log.leave()
    assert first.tokens == set()
    poll_all_until([second], lambda: second.tokens == {0, 1, 2, 3})
    first.log.join(name, 4, first)
    poll_all_until([first, second], lambda: len(first.tokens) == len(second.tokens) == 2)


@PROTOCOLS
def test_sources_stay_through_rebalances(
    open_log: OpenLog, name: str, settings: dict[str, str]
) -> None:
    """Partitions that a member keeps are read on, paused ones stay paused, positions included."""
    log = open_log(settings=settings)
    log.create_topic(name, 2, {"retention.ms": "-1"})
    log.open_producer()
    read, paused = TopicPartition(name, 0), TopicPartition(name, 1)
    append(log, name, 1, numbered(0, 5))
    first = Member(log, f"{name}-group", 2)
    poll_all_until([first], lambda: first.tokens == {0, 1})
    log.assign({read: 0, paused: 0})
    log.pause([paused])
    second = Member(open_log(settings=settings), f"{name}-group", 2)
    poll_all_until([first, second], lambda: len(second.tokens) == 1)
    append(log, name, 0, numbered(0, 5))
    assert rows_of(poll_to_the_end(log, [read])) == numbered(0, 5)
    log.resume([paused])
    assert rows_of(poll_to_the_end(log, [paused])) == numbered(0, 5)


def test_more_tokens_are_shared_out_while_running(open_log: OpenLog, name: str) -> None:
    """A member that joins again with more tokens gets them; old ones do not move."""
    settings = {"consumer.topic.metadata.refresh.interval.ms": "1000"}
    member = Member(open_log(settings=settings), name, 2)
    poll_all_until([member], lambda: member.tokens == {0, 1})
    member.log.join(name, 4, member)
    poll_all_until([member], lambda: member.tokens == {0, 1, 2, 3})
    assert member.told == [("assigned", [0, 1]), ("assigned", [2, 3])]
    member.log.verify_membership()


def test_a_revoked_member_commits_in_time(open_log: OpenLog, name: str) -> None:
    """Inside ``revoked`` a transaction with positions still goes through."""

    class Committing(Member):
        """Commits when its tokens go."""

        def revoked(self, tokens: list[int]) -> None:
            """Commit a position for each token."""
            log = self.log
            log.begin()
            log.emit(name, 0, columns(numbered(0, 3)))
            log.flush()
            log.send_offsets({TopicPartition(name, token): Committed(7, "t") for token in tokens})
            log.commit()
            super().revoked(tokens)

    log = open_log()
    log.create_topic(name, 2, {"retention.ms": "-1"})
    log.open_producer()
    first = Committing(log, f"{name}-group", 2)
    poll_all_until([first], lambda: first.tokens == {0, 1})
    second = Member(open_log(), f"{name}-group", 2)
    poll_all_until([first, second], lambda: len(second.tokens) == 1)
    (moved,) = second.tokens
    assert second.log.committed([TopicPartition(name, moved)])
    first.log.leave()
    assert len(second.log.committed([TopicPartition(name, token) for token in range(2)])) == 2
    assert rows_of(second.log.read(TopicPartition(name, 0), 0, 8)) == numbered(0, 3) * 2


def test_what_a_listener_raises_comes_out_of_poll(open_log: OpenLog, name: str) -> None:
    """A callback of the client raises nothing; the assignment is made all the same."""

    class Raising(Listening):
        """Raises once."""

        def assigned(self, tokens: list[int]) -> None:
            """Remember the tokens and raise."""
            super().assigned(tokens)
            message = "on purpose"
            raise StopError(message)

    log, listener = open_log(), Raising()
    log.join(name, 1, listener)
    with pytest.raises(StopError, match="on purpose"):
        poll_until(log, lambda: False)
    assert listener.told == [("assigned", [0])]
    log.poll(0)


def test_a_member_that_was_given_up_commits_nothing(open_log: OpenLog, name: str) -> None:
    """Out of the group for not polling, its positions are refused, also if nobody is left there."""
    slow = {
        "consumer.session.timeout.ms": "6000",
        "consumer.max.poll.interval.ms": "6000",
        "consumer.heartbeat.interval.ms": "300",
    }
    log = open_log(settings=slow)
    source = TopicPartition(name, 0)
    log.create_topic(name, 1, {"retention.ms": "-1"})
    stale = Member(log, f"{name}-group", 1)
    log.open_producer()
    poll_all_until([stale], lambda: stale.tokens == {0})
    other = Member(open_log(), f"{name}-group", 1)
    poll_all_until([other], lambda: other.tokens == {0})  # the first one does not poll

    def commit() -> None:
        log.open_producer()
        append(log, name, 0, numbered(0, 3))
        log.begin()
        log.emit(name, 0, columns(numbered(5, 7)))
        log.flush()
        log.send_offsets({source: Committed(3, "stale")})

    with pytest.raises(AbortedError):
        commit()
    other.log.leave()
    with pytest.raises(AbortedError):
        commit()
    assert log.committed([source]) == {}
    poll_all_until([stale], lambda: stale.told[-1] == ("assigned", [0]) and len(stale.told) == 3)
    assert stale.told[1] == ("lost", [0])
    log.open_producer()
    log.begin()
    log.send_offsets({source: Committed(3, "joined again")})
    log.commit()
    assert log.committed([source]) == {source: Committed(3, "joined again")}
    assert rows_of(log.read(source, 0, log.end_offsets([source])[source])) == numbered(0, 3) * 2


# the token topic
def test_a_lost_token_topic_stops_the_member(open_log: OpenLog, log: Log, name: str) -> None:
    """Deleted, or made anew under the same name: the tokens no longer mean what they did."""
    member = Member(open_log(), name, 2)
    poll_all_until([member], lambda: member.tokens == {0, 1})
    member.log.verify_membership()
    log.delete_topic(f"{name}-tasks")
    with pytest.raises(StopError, match=r"is gone.*stop all workers"):
        member.log.verify_membership()
    log.create_topic(f"{name}-tasks", 2, {})
    with pytest.raises(StopError, match=r"made anew.*stop all workers"):
        member.log.verify_membership()


def test_polling_sees_that_the_token_topic_is_gone(open_log: OpenLog, log: Log, name: str) -> None:
    """The client's own error about it has the topic checked at once."""
    settings = {"consumer.topic.metadata.refresh.interval.ms": "500"}
    member = Member(open_log(settings=settings), name, 2)
    poll_all_until([member], lambda: member.tokens == {0, 1})
    log.delete_topic(f"{name}-tasks")
    with pytest.raises(StopError, match="is gone"):
        poll_until(member.log, lambda: False)


def test_a_token_topic_may_only_be_verified(open_log: OpenLog, log: Log, name: str) -> None:
    """Without the right to create it, it must be there and be wide enough."""
    careful = open_log(create_token_topic=False)
    with pytest.raises(LogError, match=r"0 partitions; the tasks need 2.*topics create"):
        careful.join(name, 2, Listening())
    log.create_topic(f"{name}-tasks", 3, {})
    member = Member(careful, name, 2)
    poll_all_until([member], lambda: member.tokens == {0, 1, 2})


def test_an_onlooker_makes_nothing(open_log: OpenLog, log: Log, name: str) -> None:
    """Without tokens there is no topic and no member, only the group's positions."""
    source = TopicPartition(name, 0)
    log.create_topic(name, 1, {"retention.ms": "-1"})
    log.open_producer()
    join(log, name, 1)
    log.begin()
    log.send_offsets({source: Committed(4, "t")})
    log.commit()
    onlooker = open_log()
    onlooker.join(f"{name}-other", 0, Listening())
    assert onlooker.committed([source]) == {}
    onlooker.leave()
    onlooker.join(name, 0, Listening())
    assert onlooker.committed([source]) == {source: Committed(4, "t")}
    assert f"{name}-other-tasks" not in log.topic_names()


# no broker, no rights
def log_of(address: str, **settings: str) -> KafkaLog:
    """Make a log of another broker."""
    return KafkaLog(
        address,
        {name.replace("_", "."): value for name, value in settings.items()},
        transactional_id="t",
        clock=SystemClock(),
    )


def test_an_unknown_host_is_told_at_once() -> None:
    """Trying again makes no sense."""
    log = log_of("no-such-host.invalid:9092")
    with pytest.raises(LogError, match=r"no-such-host.*--broker") as caught:
        _ = log.cluster_id
    assert not caught.value.retriable
    log.close()


def test_a_wrong_password_is_told_at_once(authorized_broker: Address) -> None:
    """The cure is named, the password is not."""
    log = log_of(
        authorized_broker.bootstrap,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="worker",
        kafka_sasl_password="canary-7f3a",
    )
    for call in (lambda: log.cluster_id, log.topic_names, log.open_producer):
        with pytest.raises(LogError, match=r"sasl") as caught:
            call()
        assert not caught.value.retriable
        assert "canary" not in str(caught.value)
    log.close()


def test_missing_rights_are_named(authorized_broker: Address, name: str) -> None:
    """Whatever a user without rights tries is refused with what to grant."""
    settings = {f"kafka.{key}": v for key, v in authorized_broker.settings("guest").items()}
    log = KafkaLog(
        authorized_broker.bootstrap, settings, transactional_id=name, clock=SystemClock()
    )
    source = TopicPartition(name, 0)
    log.join(name, 0, Listening())
    calls: dict[str, Callable[[], object]] = {
        "topics": lambda: log.create_topic(name, 1, {}),
        "consumer group": lambda: log.committed([source]),
        "transactional id": log.open_producer,
    }
    for what, call in calls.items():
        with pytest.raises(LogError, match=f"rights on the {what}") as caught:
            call()
        assert not caught.value.retriable
    log.close()


def test_a_broker_that_dies_while_it_is_asked(own_broker: OwnBroker, name: str) -> None:
    """An answer that never comes is an error, and no offset."""
    broker = own_broker()
    log = log_of(broker.bootstrap)
    source = TopicPartition(name, 0)
    log.create_topic(name, 1, {"retention.ms": "-1"})
    assert log.end_offsets([source]) == {source: 0}
    broker.suspend()
    killing = threading.Timer(1, broker.kill)
    killing.start()
    with pytest.raises(LogError, match="cannot be read") as raised:
        log.end_offsets([source])
    assert raised.value.retriable
    killing.join()
    log.close()


def test_a_stopped_broker_is_told_with_since_when(own_broker: OwnBroker, name: str) -> None:
    """A member whose broker dies is told so, can leave in time, and comes back with the broker."""
    broker = own_broker()
    log = log_of(broker.bootstrap, consumer_session_timeout_ms="6000")
    source = TopicPartition(name, 0)
    log.create_topic(name, 1, {"retention.ms": "-1"})
    log.open_producer()
    member = Member(log, name, 1)
    poll_all_until([member], lambda: member.tokens == {0})
    log.assign({source: 0})
    append(log, name, 0, numbered(0, 3))
    assert rows_of(poll_to_the_end(log, [source])) == numbered(0, 3)
    broker.kill()
    started_s = time.monotonic()
    since = r"does not answer since \d+ s: Connection refused"
    with pytest.raises(LogError, match=f"{since}|transport failure") as e:  # it may be seen to die
        log.end_offsets([source])
    assert e.value.retriable
    with pytest.raises(LogError, match="does not answer since") as e:
        log.begin()
    assert e.value.retriable
    log.leave()
    log.close()
    assert time.monotonic() - started_s < DEADLINE_S
