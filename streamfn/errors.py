"""Every error streamfn raises, as one tree; what a caller can do about it is its class.

    StreamfnError
    ├── TopologyError            fix the program: all mistakes found when it is built, together
    ├── ConfigError              fix a setting
    ├── SerdeError               bytes that do not decode, a value that does not encode
    │   └── RegistryError        the schema registry does not answer, or refuses; a StopError too
    ├── RecordingError           a recording that is damaged, foreign or not in order
    ├── StageError               a user's function raised; ``__cause__`` is the user's own error
    ├── StateError               a local store cannot be used
    │   ├── StateCorruptedError  rebuild it from its changelog
    │   ├── StateTypeError       the stored type no longer fits; ``streamfn reset --store`` cures
    │   └── StateLockedError     another process has it
    ├── LogError                 the log (embedded, Kafka) cannot do what was asked
    │   ├── NotCommittedError    a transaction failed before its outcome could be in doubt
    │   ├── AbortedError         the log aborted the transaction: rewind and process it again
    │   ├── UnknownOutcomeError  ``commit`` ended without an answer: ask for the token
    │   ├── RefusedError         the log will never take these records
    │   ├── FencedError          a newer producer has our id
    │   └── LogLockedError       another process has the embedded log
    ├── StopError                a worker stops on purpose (a protocol rule says so)
    └── InternalError            our bug

Texts have one form: subject, what is wrong; what was got; what to do. Facts are attributes too. A
record never passes through here; errors about one carry where it is (topic, partition, offset).
"""

from collections.abc import Sequence
from dataclasses import dataclass


class StreamfnError(Exception):
    """The root of the tree; ``exit_code`` is what the command line ends with."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a program: where it stands, what is wrong, what was got, what to do."""

    where: str
    wrong: str
    got: str
    cure: str

    def __str__(self) -> str:
        got = f"; got {self.got}" if self.got else ""
        return f"{self.where}: {self.wrong}{got}; {self.cure}"


class TopologyError(StreamfnError):
    """The program is wrong; ``mistakes`` holds all that could be seen, in order of appearance."""

    exit_code = 3

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class ConfigError(StreamfnError):
    """A setting is wrong, or would break a guarantee silently."""

    exit_code = 4


class SerdeError(StreamfnError):
    """Bytes do not decode as their type, or a value does not encode."""

    exit_code = 5


class RecordingError(StreamfnError):
    """A recording is cut short, damaged, not one of ours, or not in order; the text says where."""

    exit_code = 9


class StageError(StreamfnError):
    """A record that does not decode, or whose function raised; the record is undone as a whole."""

    exit_code = 5

    def __init__(
        self, stage: str, task: str, topic: str, partition: int, offset: int, reason: str
    ) -> None:
        self.stage, self.task = stage, task
        self.topic, self.partition, self.offset = topic, partition, offset
        self.reason = reason
        self.key: bytes | None = None
        self.rank = -1
        """In a replay: where the input record stands in the order of all."""
        self.redo = False
        """True for a timer: what is not committed is done again, its firing with it."""
        whose = " of the app" if stage == topic else ""  # no function has seen it
        super().__init__(
            f"stage {stage!r} failed on {topic}[{partition}] at offset {offset}; {reason}; "
            "all before this record is committed, the record is undone: mend it and run again, or "
            f"set on_error='skip' or 'dead_letter'{whose}"
        )


class StateError(StreamfnError):
    """A local store cannot be used."""

    exit_code = 6


class StateCorruptedError(StateError):
    """A local store is damaged; it is set aside and rebuilt from its changelog."""


class StateTypeError(StateError):
    """A store holds values of a type that the program can no longer read."""


class StateLockedError(StateError):
    """Another process holds this folder."""


class LogError(StreamfnError):
    """The log cannot do what was asked."""

    exit_code = 7

    def __init__(self, message: str, *, retriable: bool = False) -> None:
        self.retriable = retriable
        super().__init__(message)


class NotCommittedError(LogError):
    """The transaction cannot commit and has left nothing behind."""


class AbortedError(LogError):
    """The log has aborted the transaction; its records can be processed again."""


class UnknownOutcomeError(LogError):
    """``commit`` ended without an answer; only the committed token tells what happened."""


class RefusedError(LogError):
    """The log will never take these records (too large, a forbidden timestamp, no rights)."""


class FencedError(LogError):
    """A newer producer has taken over this transactional id."""


class LogLockedError(LogError):
    """Another process has the embedded log open."""


class StopError(StreamfnError):
    """The worker stops on purpose: going on would lose, double or misorder something."""

    exit_code = 8


class RegistryError(StopError, SerdeError):
    """The schema registry does not answer, or refuses a schema: no record is at fault.

    What may pass by itself (``retriable``) ends a worker as a log does that cannot be used.
    """

    def __init__(self, message: str, *, retriable: bool = False) -> None:
        self.retriable = retriable
        if retriable:
            self.exit_code = LogError.exit_code
        super().__init__(message)


class InternalError(StreamfnError):
    """A bug in streamfn; please report it with the traceback."""

    exit_code = 70
