"""The supervisor: who is started again and when, who stops the whole, and when all is done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.engine.status import Failure, Note, Waiting, counts_of, metrics_of
from streamfn.engine.supervisor import BACK_OFF_MAX_S
from streamfn.metrics import Metrics
from tests.unit.supervised_world import Supervised, status


def at_work(workers: int = 2, **settings: object) -> Supervised:
    """Return a supervisor whose workers work."""
    world = Supervised(workers, **settings)
    world.work()
    return world


# ends and starts
@pytest.mark.parametrize(
    ("code", "said"),
    [(-9, "killed by SIGKILL"), (-11, "killed by SIGSEGV"), (1, "exit code 1")],
)
def test_a_worker_that_crashes_starts_again_after_a_second(code: int, said: str) -> None:
    """One line says who, why, and when it starts again; the others go on."""
    world = at_work()
    world.ends(1, code)
    assert world.lines == [f"0 warning worker 1 ended ({said}), starts again in 1 s"]
    assert world.seconds_to_the_next_start() == 1
    assert world.supervisor.workers[0].restarts == 1
    assert world.born[1].told == []


@pytest.mark.parametrize("code", [70, 7, 6])
def test_a_failure_that_may_pass_is_tried_again_with_its_reason(code: int) -> None:
    """A lost broker, a locked folder, a bug: the line is the worker's own."""
    world = at_work()
    world.ends(2, code, Failure(("the broker is gone",), code, "its traceback", retry=True))
    assert world.lines == [
        "2 stderr its traceback",
        "0 warning worker 2 ended (the broker is gone), starts again in 1 s",
    ]
    assert not world.supervisor.stopping


def test_the_back_off_doubles_up_to_a_bound_and_is_forgotten() -> None:
    """1, 2, 4 … 30 s; who has then worked for a minute begins with one second again."""
    world = at_work(1)
    delays: list[float] = []
    for _ in range(7):
        world.ends(1, -9)
        delays.append(world.seconds_to_the_next_start())
        world.work()
    assert delays == [1, 2, 4, 8, 16, BACK_OFF_MAX_S, BACK_OFF_MAX_S]
    world.step(61)
    world.ends(1, -9)
    assert world.lines[-1].endswith("starts again in 1 s")


def test_a_worker_that_leaves_starts_again_at_once() -> None:
    """SIGTERM to one worker is how it is restarted: no back-off, however often."""
    world = at_work()
    for _ in range(3):
        world.child(1).terminate()
        world.step()
        assert world.lines[-1] == "0 warning worker 1 left (SIGTERM), starts again"
        world.step()
        world.work()
    assert len(world.born) == 5


@pytest.mark.parametrize("code", [2, 3, 4, 5, 6, 8])
def test_a_worker_that_stops_on_purpose_stops_the_whole(code: int) -> None:
    """The others leave, and the exit code and the reason are the first one's."""
    world = at_work(3)
    world.ends(2, code, Failure(("a bad record",), code))
    assert world.born[0].told == world.born[2].told == ["SIGTERM"]
    world.ends(1, 8, Failure(("another one",), 8))
    assert world.supervisor.done
    assert world.supervisor.failure == Failure(("a bad record",), code)
    assert world.lines == []


def test_a_broker_that_was_never_there_is_no_restart_loop() -> None:
    """If no worker has ever worked, the first that cannot connect stops the whole."""
    world = Supervised(2)
    world.ends(1, 7, Failure(("no answer",), 7, retry=True))
    assert world.born[1].told == ["SIGTERM"]
    assert world.supervisor.done
    assert world.supervisor.failure == Failure(("no answer",), 7, retry=True)


def test_a_worker_that_says_nothing_is_blamed_by_its_exit_code() -> None:
    """A module that cannot be imported, for one."""
    world = Supervised(1)
    world.ends(1, 3)
    assert world.supervisor.failure
    assert "worker 1 ended with exit code 3" in world.supervisor.failure.lines[0]


# stopping
def test_stop_waits_for_all_and_starts_nobody() -> None:
    """One that is to start again later does not; one that crashes now is told of."""
    world = at_work(3)
    world.ends(3, -9)
    world.child(2).leaves = False
    world.supervisor.stop()
    world.step(5)
    assert not world.supervisor.done
    world.ends(2, -9)
    assert world.supervisor.done
    assert "worker 2 ended before its last commit (killed by SIGKILL)" in world.lines[-1]
    assert len(world.born) == 3


def test_kill_ends_all() -> None:
    """The second Ctrl-C waits for nobody."""
    world = at_work()
    for child in world.born:
        child.leaves = False
    world.supervisor.stop()
    world.supervisor.kill()
    world.step()
    assert world.supervisor.done


# silence
def test_a_silent_loop_is_killed_and_started_again() -> None:
    """After the time that its own watchdog should have needed, and once."""
    world = at_work(1, silence_s=310.0)
    world.step(300)
    assert world.child(1).told == []
    child = world.child(1)
    world.step(10)
    world.step()
    assert child.told == ["SIGKILL"]
    assert world.lines[0] == "0 warning worker 1 was silent for 310 s and is killed"
    assert "starts again in" in world.lines[1]


def test_a_loop_that_tries_again_and_again_is_not_silent() -> None:
    """An outage of hours is waited out; a loop that only takes long is not."""
    world = at_work(2, silence_s=60.0)
    for _ in range(10):
        world.born[0].says.append(Waiting("a commit: no answer", alive=True))
        world.born[1].says.append(Waiting("its loop, silent for 9 s"))
        world.step(20)
    assert world.born[0].told == []
    assert world.born[1].told == ["SIGKILL"]
    assert world.supervisor.workers[0].waits_for == "a commit: no answer"


def test_a_start_may_take_longer() -> None:
    """Connecting and opening come before the first round."""
    world = Supervised(1, silence_s=10.0, start_silence_s=70.0)
    world.step(60)
    assert world.child(1).told == []
    world.step(10)
    assert world.born[0].told == ["SIGKILL"]


# lines
def test_a_line_that_all_say_is_said_once() -> None:
    """With the number of the first; again after a minute; what programs write always."""
    world = at_work()
    for _ in range(2):
        for child in world.born:
            child.says += [Note("warning", "the topic is short"), Note("stderr", "x")]
        world.step()
    assert world.lines.count("1 warning the topic is short") == 1
    assert len(world.lines) == 5
    world.child(2).says.append(Note("warning", "the topic is short"))
    world.step(61)
    assert world.lines[-1] == "2 warning the topic is short"


def test_counts_add_up_over_processes() -> None:
    """What a process had done before it died counts, and metrics survive the way to us."""
    world = at_work(2)
    world.child(1).says.append(status("t_1", records=5, outputs=1))
    world.child(2).says.append(status("t_2", records=7))
    world.step()
    world.ends(1, -9)
    world.step(1)
    world.child(1).says.append(status("t_1", records=2))
    world.step()
    assert world.supervisor.counts["records"] == 14
    assert world.supervisor.workers[0].counts["records"] == 7
    metrics = Metrics(records=3, rewinds=1)
    metrics.dropped["null key at a"] = 2
    assert metrics_of(counts_of(metrics)) == metrics


# the end of the input
def test_the_end_is_agreed_on_in_two_waves() -> None:
    """All finished, then all checked with nothing changed in between; only then all finish."""
    world = at_work(2, until_end=True)
    world.child(1).says.append(status("t_1", finished=True, records=1))
    world.step()
    assert world.child(1).told == []
    world.child(2).says.append(status("t_2", finished=True, records=1))
    world.step()
    assert world.child(1).told == world.child(2).told == ["check 1"]
    world.child(1).says.append(status("t_1", finished=True, checked=1, records=1))
    world.step()
    assert world.child(1).told == ["check 1"]
    world.child(2).says.append(status("t_2", finished=True, checked=1, records=1))
    world.step()
    assert world.supervisor.finishing
    world.step()
    assert world.supervisor.done
    assert world.supervisor.failure is None
    assert world.lines == []


@pytest.mark.parametrize(
    "changed",
    [
        {"records": 2},
        {"records": 1, "rewinds": 1},
        {"records": 1, "rebalances": 1},
        {"records": 1, "rows_loaded": 1},
    ],
)
def test_a_check_in_which_something_changed_is_void(changed: dict[str, int]) -> None:
    """Another one follows, with another number, and answers to the old one count for nothing."""
    world = at_work(2, until_end=True)
    for number in (1, 2):
        world.child(number).says.append(status(f"t_{number}", finished=True, records=1))
    world.step()
    world.child(1).says.append(status("t_1", finished=True, checked=1, records=1))
    world.child(2).says.append(status("t_2", finished=True, checked=1, **changed))
    world.step()
    world.step()
    assert world.child(1).told == ["check 1", "check 2"]
    assert not world.supervisor.finishing


def test_a_worker_started_anew_in_between_voids_the_check() -> None:
    """What it does not know of, the one before it may have sent."""
    world = at_work(2, until_end=True)
    for number in (1, 2):
        world.child(number).says.append(status(f"t_{number}", finished=True))
    world.step()
    world.ends(2, -9)
    world.step(1)
    world.child(1).says.append(status("t_1", finished=True, checked=1))
    world.child(2).says.append(status("t_2", finished=True))
    world.step()
    assert world.child(2).told == ["check 2"]
    assert not world.supervisor.finishing


def test_the_end_waits_for_tasks_that_nobody_here_has_and_says_so() -> None:
    """Workers elsewhere may have them: of those nothing is known."""
    world = at_work(2, until_end=True)
    world.child(1).says.append(status("t_1", finished=True))
    world.child(2).says.append(status(finished=True))
    world.step()
    assert world.supervisor.waits_for_others() == ""
    world.step(10)
    assert world.supervisor.waits_for_others() == "1 tasks that no worker of this supervisor has"
    assert world.child(1).told == []


class Network:
    """Three workers that pass records on; what is under way to one, it does not see yet."""

    def __init__(self, unread: list[int], sends: int) -> None:
        self.world = at_work(3, until_end=True)
        self.unread, self.sends_left = unread, sends
        self.sent = [*unread]
        self.under_way, self.done = [0, 0, 0], [0, 0, 0]
        self.asked = [(0, 0)] * 3
        """The last check that each has got, and how many had been sent to it by then."""
        self.checked = [0, 0, 0]

    def work(self, worker: int) -> None:
        """Process a record, which may send one on."""
        if self.unread[worker]:
            self.unread[worker] -= 1
            self.done[worker] += 1
            if self.sends_left:
                self.sends_left -= 1
                self.under_way[(worker + 1) % 3] += 1
                self.sent[(worker + 1) % 3] += 1

    def arrive(self, worker: int) -> None:
        """Get to see what was sent."""
        self.unread[worker] += self.under_way[worker]
        self.under_way[worker] = 0

    def listen(self, worker: int) -> None:
        """Get a check: look how many have been sent by now."""
        told = self.world.born[worker].told
        number = int(told[-1].split()[1]) if told else 0
        if number > self.asked[worker][0]:
            self.asked[worker] = number, self.sent[worker]

    def say(self, worker: int) -> None:
        """Send a status, which answers a check if all of then is done."""
        finished, (number, sent) = not self.unread[worker], self.asked[worker]
        if finished and self.done[worker] >= sent:
            self.checked[worker] = number
        self.world.born[worker].says.append(
            status(
                f"t_{worker}", finished=finished, checked=self.checked[worker], planned=3,
                records=self.done[worker],
            )
        )  # fmt: skip
        self.world.step()


VERBS = ("work", "arrive", "listen", "say")
anything = st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 2)), max_size=60)
EVERYTHING = [(verb, worker) for verb in ("arrive", "work", "listen", "say") for worker in range(3)]


@given(
    unread=st.lists(st.integers(0, 2), min_size=3, max_size=3),
    sends=st.integers(0, 4),
    order=anything,
)
def test_no_record_is_left_when_the_end_is_agreed_on(
    unread: list[int], sends: int, order: list[tuple[str, int]]
) -> None:
    """Whatever the order of work, arrivals and words; and the end is agreed on at last."""
    network = Network(unread, sends)
    for verb, worker in [*order, *EVERYTHING * 20]:
        if network.world.supervisor.finishing:
            break
        getattr(network, verb)(worker)
    assert network.world.supervisor.finishing
    assert network.sent == network.done
