"""``python -m tests.conformance FILE.jsonl…``: does streamfn answer as Kafka Streams does?

Each case is built through the public DSL, run in the TestDriver, and compared with what Kafka
Streams answered. Failures are listed by feature; the first differences are shown with the case's
ops. The last line is ``conformance: N of M cases``; the exit code is 1 if N < M.
"""

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import json as msgspec_json

from tests.conformance.cases import SHARED, Case, CaseError, read_cases
from tests.conformance.run import Verdict, Way, can_run, judge

EXAMPLES = """examples:
  python -m tests.conformance                                the cases that are part of the tree
  python -m tests.conformance more.jsonl other.jsonl         other cases, of the same format
  python -m tests.conformance --feature join --show 10       what has "join" in a feature's name
  python -m tests.conformance --case sliding_aggregate/003   one case
  python -m tests.conformance --closures                     the reference compiler
  python -m tests.conformance --restarts 7                   kill the worker here and there
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return the exit code."""
    options = _parser().parse_args(arguments)
    way = Way(not options.closures, options.commit_interval_ms, options.restarts)
    try:
        cases = [case for path in options.files for case in read_cases(path)]
    except CaseError as error:
        print(error, file=sys.stderr)
        return 2
    asked = [case for case in cases if _is_asked_for(case, options.case, options.feature)]
    if not asked:
        print("no case fits; leave out --case and --feature to run all", file=sys.stderr)
        return 2
    verdicts = [judge(case, way) for case in asked if can_run(case, way)]
    for line in report(verdicts, len(asked) - len(verdicts), options.show):
        print(line)
    return int(not all(verdict.passed for verdict in verdicts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "files", nargs="*", type=Path, default=[SHARED], metavar="FILE.jsonl",
        help="files of cases, one JSON object a line; left out: those of the tree",
    )  # fmt: skip
    parser.add_argument(
        "--case", action="append", default=[], metavar="ID",
        help="only cases whose id contains this; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--feature", action="append", default=[], metavar="NAME",
        help="only cases with a feature that contains this; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--show", type=int, default=3, metavar="N", help="failures shown in full (default 3)"
    )
    parser.add_argument(
        "--closures", action="store_true",
        help="run the reference compiler instead of generated code; the answers are the same",
    )  # fmt: skip
    parser.add_argument(
        "--commit-interval-ms", type=int, default=0, metavar="N",
        help="commit so rarely instead of at each record, and compare whole outputs; cases that "
        "have no single answer then are left out",
    )  # fmt: skip
    parser.add_argument(
        "--restarts", type=int, metavar="SEED",
        help="kill the worker and start another after steps chosen by this seed",
    )  # fmt: skip
    return parser


def _is_asked_for(case: Case, ids: Sequence[str], features: Sequence[str]) -> bool:
    by_id = not ids or any(part in case.id for part in ids)
    return by_id and (
        not features or any(part in feature for part in features for feature in case.features)
    )


def report(verdicts: Sequence[Verdict], left_out: int, show: int) -> Iterator[str]:
    """Tell what passed and what did not; the count is the last line."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    yield from _shown(failed[:show])
    yield from _by_feature(verdicts)
    quirks = [verdict for verdict in verdicts if verdict.passed and verdict.case.also is not None]
    if quirks:
        also = sum(verdict.also for verdict in quirks)
        yield f"quirks: {also} answered so that nothing is lost, {len(quirks) - also} otherwise"
    if left_out:
        yield f"left out: {left_out} cases that have no single answer when they are run this way"
    yield f"conformance: {len(verdicts) - len(failed)} of {len(verdicts)} cases"


def _shown(failed: Iterable[Verdict]) -> Iterator[str]:
    for verdict in failed:
        yield f"--- {verdict.case.id} ({verdict.case.compare})"
        for op in verdict.case.ops:
            yield f"  {_plain(msgspec_json.decode(msgspec_json.encode(op)))}"
        yield verdict.report
        yield ""


def _plain(op: dict[str, object]) -> str:
    """An op without what it leaves at its defaults."""
    said = [f"{name}={value}" for name, value in op.items() if name not in {"op", "id"}]
    return " ".join([f"{op.get('id', '')}: {op['op']}", *said]).strip()


def _by_feature(verdicts: Iterable[Verdict]) -> Iterator[str]:
    features: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        for feature in verdict.case.features:
            features[feature].append(verdict)
    for feature, ran in sorted(features.items()):
        failed = [verdict.case.id for verdict in ran if not verdict.passed]
        if failed:
            named = ", ".join(failed[:6]) + (", …" if len(failed) > 6 else "")
            yield f"{feature}: {len(failed)} of {len(ran)} failed: {named}"


if __name__ == "__main__":
    logging.getLogger("streamfn").setLevel(logging.ERROR)  # cases have null keys on purpose
    sys.exit(main())
