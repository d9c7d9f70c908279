"""Requests to real servers, measured in turns; all servers run the whole time, and one of them has something to do."""

import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

import urllib3

from bench import wrk
from bench.figures import Figure, Run

ALGS = ("ES256", "RS256")
SETTLING = 4
"""After so many answers, each from one of two workers, hardly any worker has work left."""


class Wrong(Exception):
    """A server does not do the work that is to be measured."""


@dataclass(frozen=True, eq=False)
class Target:
    """One request of a part. What it answers was looked at before, and that it is answered is after each turn."""

    part: str
    name: str
    what: str
    request: wrk.Request
    note: str = ""
    warm_up: int = 1
    unit: tuple[str, str] | None = None
    """The name and the what of another of the part, of whose answers a second it has a multiple."""


def measure(run: Run, targets: list[Target]) -> None:
    """A turn of each in every round, after those to warm up. What fails under load is told as a figure."""
    turns = {target: [_warm(run, target)] for target in targets}
    for number in range(1, run.rounds + 1):
        # There and back, so that whatever drifts weighs on the first as on the last.
        for target, told in turns.items() if number % 2 else reversed(turns.items()):
            told.append(_turn(run, target, f"round {number} of {run.rounds}") if told[-1] else {})
    for target, (_, *told) in turns.items():
        if all(told):
            rounds = {measure: [turn[measure] for turn in told] for measure in told[0]}
            run.figures.append(Figure(target.part, target.name, target.what, rounds, target.note))
    for target in targets:
        figure = run.find(target.part, target.name, target.what)
        unit = run.find(target.part, *target.unit) if target.unit is not None else None
        if figure is not None and unit is not None:
            pairs = zip(figure.rounds["per_second"], unit.rounds["per_second"], strict=True)
            figure.rounds["multiple"] = [mine / other for mine, other in pairs]


def _warm(run: Run, target: Target) -> dict[str, float]:
    return [_turn(run, target, "warming up") for _ in range(target.warm_up)][-1]


def _turn(run: Run, target: Target, when: str) -> dict[str, float]:
    """What wrk tells, once all that it asked for and did not wait for is done, so that it weighs on nobody else.

    Empty where that did not come to an end, which is said.
    """
    try:
        told = wrk.turn(target.request, run.seconds)
        for _ in range(SETTLING):
            ask(target.request)
    except (wrk.Failed, Wrong, urllib3.exceptions.HTTPError) as failed:
        run.skip(target.part, f"{target.name} {target.what}", f"{when}: {failed}")
        return {}
    run.tell(f"{when}: {target.part}, {target.name} {target.what}: {told['per_second']:.0f} a second")
    return told


def ask(request: wrk.Request) -> urllib3.BaseHTTPResponse:
    """One answer on a connection of its own, which any worker may take; raises Wrong unless it has the status that must
    come.
    """
    body, headers = request.once()
    answer = urllib3.request(
        request.method, request.url, body=body or None, headers={**headers, "Connection": "close"}, retries=False,
        timeout=60, redirect=False,
    )  # fmt: skip
    if answer.status != request.status:
        raise Wrong(f"{request.method} {request.url.partition('?')[0]} was answered with {answer.status}")
    return answer


def token(request: wrk.Request, alg: str) -> str:
    """The token that a request gets, signed with `alg`, or an opaque one where `alg` is none; raises Wrong."""
    text = str(ask(request).json()["access_token"])
    if alg in ALGS and header(text).get("alg") != alg:
        raise Wrong(f"a token of {request.url} is not signed with {alg}")
    return text


def header(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(urlsafe_b64decode(text.partition(".")[0] + "=="))
    return found
