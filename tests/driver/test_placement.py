"""Where records are put: by their keys, also where the log need not hash them to know."""

import pytest

import streamfn as sf
from streamfn.connectors.partitioner import Partitioner
from streamfn.testing import TestDriver

WIDTH = 4


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("astray", [False, True])
def test_every_record_is_in_the_partition_of_its_key(generated: bool, astray: bool) -> None:
    """Unchanged keys, changed ones, and keys from a topic where one was put elsewhere by hand."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=str, partitions=WIDTH)
    copied = app.topic("copied", key=str, value=str, partitions=WIDTH)
    wider = app.topic("wider", key=str, value=str, partitions=WIDTH * 2)
    turned = app.topic("turned", key=str, value=str, partitions=WIDTH)
    answered = app.topic("answered", key=str, value=str, partitions=WIDTH)
    both = app.topic("both", key=str, value=str, partitions=WIDTH)
    stream = app.stream(source)
    stream.to((copied, wider, both))

    @app.function(source, to=answered)
    def answer(value: str, seen: sf.Value[int]) -> str:
        seen.value += 1
        return value

    swapped = stream.map(lambda key, value: (value, key), key=str, value=str)
    swapped.to((turned, both))
    with TestDriver(app, generated=generated) as driver:
        if astray:
            at = Partitioner().partition_of(b"k0", WIDTH)
            driver.send(source, "v", key="k0", partition=(at + 1) % WIDTH)
        for number in range(40):
            driver.send(source, f"v{number}", key=f"k{number % 7}")
        partition_of = Partitioner().partition_of
        for topic, width in (
            (copied, WIDTH),
            (wider, 8),
            (turned, WIDTH),
            (both, WIDTH),
            (answered, WIDTH),
        ):
            found = driver.read(topic)
            assert len(found) >= 40
            for record in found:
                assert record.partition == partition_of(record.key.encode(), width)
