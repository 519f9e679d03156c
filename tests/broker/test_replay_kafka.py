"""The flights on a real Kafka, replayed: replays agree to the byte, and with the live run.

The live run has two workers. Where a task has one input and nothing is repartitioned in front of
it, a replay is equal to it in order (protocol §6); elsewhere by key, as each test says.
"""

import json
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.replay_flights import (
    BETWEEN,
    DEAD_LETTERS,
    OUTPUTS,
    PROGRAM,
    STORES,
    TOPICS,
    Flown,
    Made,
    Row,
    flown,
    grouped,
    task_of,
)
from tests.broker.replay_mutants import MUTANTS, Found, Mutant, changed

FILE = "all.jsonl.zst"
OTHERWISE = ("--workers", "3", "-o", "commit_interval_ms=7")
LIVE_ONLY = "streamfn.failed_at_ms"
FIVE = ("name", "planned", "left", "minutes")


@pytest.fixture(scope="module")
def world(startable: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Flown]:
    """The flights after their live run; at the end nothing may have changed."""
    with flown(tmp_path_factory.mktemp("flown")) as made:
        yield made


@pytest.fixture(scope="module")
def replayed(world: Flown) -> Made:
    """The replay of a recording."""
    return world.made(FILE)


@pytest.fixture(scope="module")
def in_its_order(world: Flown) -> Made:
    """The replay with the repartition topics of the live run."""
    return world.made(FILE, "--repartitions")


# replays among themselves
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("all.avro", ()),
        (TOPICS, ()),
        (FILE, OTHERWISE),
        ("all.avro", OTHERWISE),
        (TOPICS, OTHERWISE),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given) or "plain",
)
def test_replays_agree_byte_for_byte(
    source: str, options: tuple[str, ...], world: Flown, replayed: Made
) -> None:
    """Outputs, dead letters and final state: from whatever, by however many, however committed."""
    assert world.made(source, *options).raw == replayed.raw


@pytest.mark.parametrize("source", ["all.avro", TOPICS])
def test_replays_in_the_live_order_agree(source: str, world: Flown, in_its_order: Made) -> None:
    """With the repartition topics of the live run it is so, too."""
    assert world.made(source, "--repartitions", *OTHERWISE).raw == in_its_order.raw


def test_replays_find_the_figures(world: Flown, replayed: Made) -> None:
    """They are not only equal but right: as plain Python finds it."""
    expected = world.figures
    assert sum(len(matches) for matches in expected.matches.values()) > 2_000
    for topic, totals in (
        ("carrier-delays", expected.carriers),
        ("weather-delays", expected.weathers),
    ):
        last = {row.key: json.loads(row.value or "") for row in replayed.rows[topic]}
        found = {key: tuple(value[name] for name in FIVE) for key, value in last.items()}
        assert found == totals
    counts = Counter(row.key for row in replayed.rows["hourly-departures"])
    assert counts == {json_key(key): count for key, count in expected.departures.items()}
    assert not replayed.raised


def json_key(key: tuple[str, str]) -> str:
    """A key of two parts, as its topic has it."""
    return json.dumps(key, separators=(",", ":"))


# replays and the live run
def test_in_order_behind_one_input(world: Flown, replayed: Made) -> None:
    """``checked`` reads flights alone: what it hands on is equal in order by task and partition."""
    for topic in BETWEEN[:2]:
        live, made = world.live(topic), replayed.rows[topic]
        assert len(live) > 2_000
        assert grouped(made, by_task) == grouped(live, by_task)


def by_task(row: Row) -> tuple[int, int]:
    """The task that has written a flight, and where to."""
    value = json.loads(row.value or "")
    flight = value if "origin" in value else value["flight"]
    return task_of(flight["origin"]), row.partition


def test_in_order_where_a_task_merges_by_time(world: Flown, replayed: Made) -> None:
    """``with_weather`` merges flights and reports: by key, in order, which is by task here.

    The live run had all its input before it, so that its merge by time was that of the replay.
    """
    live, made = world.live("flights-in-weather"), replayed.rows["flights-in-weather"]
    assert len(live) > 2_000
    assert grouped(made, by_key) == grouped(live, by_key)
    weather = BETWEEN[2]
    assert grouped(replayed.rows[weather], by_task) == grouped(world.live(weather), by_task)


def by_key(row: Row) -> str:
    """What rows of one key have in common."""
    return row.key


def test_counts_behind_a_repartition_in_order_by_key(world: Flown, replayed: Made) -> None:
    """An airport's hour comes through one path, from one task: values by key, in order."""
    live, made = world.live("hourly-departures"), replayed.rows["hourly-departures"]
    assert grouped(made, by_key) == grouped(live, by_key)
    assert len(grouped(live, by_key)) > 200


@pytest.mark.parametrize("topic", ["carrier-delays", "weather-delays"])
def test_sums_behind_a_repartition_as_multisets(topic: str, world: Flown, replayed: Made) -> None:
    """A carrier comes from several tasks: in another order, each flight adds the same by key."""
    live, made = grouped(world.live(topic), by_key), grouped(replayed.rows[topic], by_key)
    assert live.keys() == made.keys()
    for key, rows in live.items():
        assert Counter(additions(rows)) == Counter(additions(made[key])), key
        assert rows[-1].value == made[key][-1].value


def additions(rows: list[Row]) -> Iterator[tuple[str, int, int, int]]:
    """What each row adds to the one before it."""
    before = (0, 0, 0)
    for row in rows:
        value = json.loads(row.value or "")
        now = value["planned"], value["left"], value["minutes"]
        yield (value["name"], *(one - other for one, other in zip(now, before, strict=True)))
        before = now


@pytest.mark.parametrize("topic", OUTPUTS)
def test_in_the_live_order_everything_is_equal(
    topic: str, world: Flown, in_its_order: Made
) -> None:
    """With its repartition topics, each task's order is known: by key, in order, times too."""
    assert grouped(in_its_order.rows[topic], by_key) == grouped(world.live(topic), by_key)


@pytest.mark.parametrize("store", STORES)
def test_final_state_is_the_live_one(
    store: str, world: Flown, replayed: Made, in_its_order: Made
) -> None:
    """Each store as its changelog folds, to the byte."""
    live = world.folded(f"flights-{store}-changelog")
    assert sum(map(len, live.values())) > 3
    assert replayed.stores[store] == live
    assert in_its_order.stores[store] == live


def test_dead_letters_are_the_live_ones(world: Flown, replayed: Made) -> None:
    """But for the time of failing, and for rows that a feed refused: a replay loads no file."""
    live = [row for row in world.live(DEAD_LETTERS) if "streamfn.feed" not in row.headers]
    assert [row.headers["streamfn.message"] for row in live] == ["left 33 minutes early"]
    assert [plain(row) for row in replayed.rows[DEAD_LETTERS]] == [plain(row) for row in live]


def plain(row: Row) -> Row:
    """A dead letter without the time at which it failed."""
    told = {name: text for name, text in row.headers.items() if name != LIVE_ONLY}
    assert row.headers.keys() - told == {LIVE_ONLY}
    return row._replace(headers=told)


# nothing changes
def test_nothing_changes(world: Flown) -> None:
    """By a user who may only read: topics, ends, groups and positions stay as they were."""
    world.recording("again.jsonl.gz")
    world.streamfn("replay", PROGRAM, *world.at(), "--show", "carrier_delay-total")
    world.streamfn("replay", PROGRAM, *world.at(), "--against", PROGRAM, "--no-self-check")
    assert world.everything() == world.before


# comparisons
def test_the_untouched_program_has_no_difference(world: Flown) -> None:
    """Every row that the live run wrote is compared, from a recording and from the topics."""
    rows = sum(len(world.live(topic)) for topic in (*OUTPUTS, *BETWEEN))
    for source in ([world.recording(FILE)], world.at()):
        said = world.streamfn("replay", PROGRAM, *source, "--diff", "--json").stdout
        found = json.loads(said)
        assert found["differences"] == []
        assert found["not_deterministic"] == []
        assert found["records"] == found["equal"] >= rows
    same = world.streamfn("replay", PROGRAM, world.recording(FILE), "--against", PROGRAM, "--json")
    found = json.loads(same.stdout)
    assert found["differences"] == []
    assert found["records"] == found["equal"] >= rows


@pytest.mark.parametrize("name", ["< to <=", "+= to =", "another time", "a default"])
def test_mutants_are_found(name: str, world: Flown, tmp_path: Path) -> None:
    """Against the program as it was: the stage that was changed is to blame, with its field."""
    mutant = MUTANTS[name]
    before, program = written(mutant, tmp_path)
    found = compared(world, program, "--against", before)
    assert set(found["to_blame"]) == set(mutant.found.stages), found
    assert mutant.found in own(found), own(found)


@pytest.mark.parametrize("name", [name for name in MUTANTS if not MUTANTS[name].base[0]])
def test_mutants_are_found_in_what_the_live_run_wrote(
    name: str, world: Flown, tmp_path: Path
) -> None:
    """Against the outputs of the live run: as far as topics can tell."""
    mutant = MUTANTS[name]
    _, program = written(mutant, tmp_path)
    found = compared(world, program, "--diff")
    expected = mutant.live or mutant.found
    assert set(found["to_blame"]) == set(expected.stages), found
    assert expected in own(found), own(found)


def written(mutant: Mutant, folder: Path) -> tuple[Path, Path]:
    """The program before and after a mistake, as files."""
    texts = changed(mutant)
    paths = folder / "before.py", folder / "flights.py"
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


def compared(world: Flown, program: Path, *how: object) -> dict[str, Any]:
    """What a comparison says that finds differences."""
    words = ("replay", program, world.recording(FILE), *how, "--json", "--no-self-check")
    found: dict[str, Any] = json.loads(world.streamfn(*words, code=1).stdout)
    assert found["exit_code"] == 1
    return found


def own(found: dict[str, Any]) -> set[Found]:
    """The differences that follow from no other: of the stages to blame together."""
    groups = [group for group in found["differences"] if not group["follows_from"]]
    stages = tuple(sorted(found["to_blame"]))
    return {Found(stages, group["field"], group["kind"]) for group in groups}
