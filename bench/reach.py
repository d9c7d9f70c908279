"""What is aimed at, each the median over the rounds of one run, and most a ratio of two figures of it."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench import decisions, introspection, others, served, token
from bench.figures import Figure, Run
from bench.load import ALGS
from bench.peers import go, keycloak, node

Who = tuple[str, str, str]


@dataclass(frozen=True)
class Goal:
    """A measure of somebody, as a multiple of the same of somebody else in the same run, if there is one."""

    name: str
    measure: str
    who: Who
    than: Who | None = None
    most: float | None = None
    least: float | None = None
    than_measure: str = ""


RATE, TIME = "per_second", "us"
TWO = f"realmint, {served.name('make serve', 2)}"


def _in_process() -> Iterator[Goal]:
    empty = (token.PART, token.EMPTY, "")
    front, behind = ((token.PART, door, "ES256") for door in (token.FRONT, token.FLASK))
    yield Goal("token ES256 in process, front door, empty views", TIME, front, empty, most=1.2)
    yield Goal("token ES256 in process, Flask alone, empty views", TIME, behind, empty, most=2.4)
    signed = ("primitives", "sign", "RS256")
    yield Goal(
        "token RS256 in process, of the bare signing rate", RATE, (token.PART, token.FRONT, "RS256"), signed, least=0.9
    )


def _through_the_server() -> Iterator[Goal]:
    for alg, peer, least in (
        ("ES256", node.PEER, 2.2), ("ES256", go.PEER, 1), ("ES256", keycloak.PEER, 10),
        ("RS256", node.PEER, 1.1), ("RS256", go.PEER, 1.4),
    ):  # fmt: skip
        who, than = (served.PART, TWO, alg), (others.PART, peer.name, alg)
        yield Goal(f"tokens a second {alg}, of {peer.name}", RATE, who, than, least=least)
    for alg in ALGS:
        who = (served.PART, TWO, alg)
        yield Goal(f"p99 {alg} under 32 connections, of p50", "p99_us", who, who, most=4, than_measure="p50_us")
    for store, least in (("SQLite", 0.5), ("PostgreSQL", 0.35)):
        who, than = (introspection.PART, store, introspection.ALG), (served.PART, TWO, introspection.ALG)
        yield Goal(f"introspections on {store}, of tokens a second", RATE, who, than, least=least)


def _decisions() -> Iterator[Goal]:
    for alg, most in (("ES256", 1.25), ("RS256", 1.8)):
        cached, uncached, signature = (
            (decisions.PART, name, alg) for name in (decisions.CACHED, decisions.UNCACHED, decisions.SIGNATURE)
        )
        yield Goal(f"decision {alg} from the cache, in µs", TIME, cached, most=10)
        yield Goal(f"decision {alg} without cache, of the bare check", TIME, uncached, signature, most=most)


GOALS = (*_in_process(), *_through_the_server(), *_decisions())


def reached(run: Run) -> list[dict[str, Any]]:
    """Of each goal whose figures this run has."""
    found = []
    for goal in GOALS:
        figure = run.find(*goal.who)
        than = run.find(*goal.than) if goal.than is not None else None
        if figure is None or (than is None and goal.than is not None):
            continue
        found.append(_told(goal, _value(goal, figure, than)))
    return found


def _value(goal: Goal, figure: Figure, than: Figure | None) -> float:
    if than is None:
        return figure.median(goal.measure)
    pairs = zip(figure.rounds[goal.measure], than.rounds[goal.than_measure or goal.measure], strict=True)
    return statistics.median(mine / other for mine, other in pairs)


def _told(goal: Goal, value: float) -> dict[str, Any]:
    reached = (goal.most is None or value <= goal.most) and (goal.least is None or value >= goal.least)
    aim = f"<= {goal.most:g}" if goal.most is not None else f">= {goal.least:g}"
    return {"goal": goal.name, "aim": aim, "value": value, "reached": reached}
