"""PARTS lists what can be measured; a new part is a file and a line here.

Parts of one kind are measured in the same rounds, so that a ratio of two of them is of one machine at one time.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext

from bench import (
    decisions,
    documents,
    introspection,
    load,
    memory,
    methods,
    others,
    primitives,
    served,
    token,
    turns,
    wrk,
)
from bench.figures import Run
from bench.load import Target
from bench.servers import Servers
from bench.turns import Subject

Calls = Callable[[], AbstractContextManager[list[Subject]]]
CALLS: dict[str, Calls] = {
    "primitives": lambda: nullcontext(list(primitives.subjects())),
    token.PART: token.subjects,
    decisions.PART: decisions.subjects,
}
SERVED: dict[str, Callable[[Servers, Run], Iterator[Target]]] = {
    served.PART: lambda servers, _: served.targets(servers),
    methods.PART: methods.targets,
    introspection.PART: introspection.targets,
    documents.PART: lambda servers, _: documents.targets(servers),
}
PARTS = (*CALLS, *SERVED, others.PART, memory.PART)


def measure(run: Run, parts: tuple[str, ...]) -> None:
    """What each of these parts has to tell goes to the run."""
    calls = [CALLS[part] for part in parts if part in CALLS]
    if calls:
        with ExitStack() as stack:
            turns.measure(run, [subject for each in calls for subject in stack.enter_context(each())])
    if requested := [part for part in parts if part in SERVED or part == others.PART]:
        _requests(run, requested)
    if memory.PART in parts:
        memory.measure(run)


def _requests(run: Run, parts: list[str]) -> None:
    if why := wrk.missing():
        for part in parts:
            run.skip(part, "all of it", why)
        return
    # Installed before anything runs beside it.
    peers = others.install(run) if others.PART in parts else []
    with Servers() as servers:
        targets = [target for part in parts if part in SERVED for target in SERVED[part](servers, run)]
        targets += others.targets(servers, run, peers)
        load.measure(run, targets)
