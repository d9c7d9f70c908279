"""One line per event, as text or JSON: who, what, which jti and kid, and why. Never a token or a secret.

Values are escaped and cut, so that nothing a client sends can forge or break a line (#207). A log that cannot be
written refuses nobody: its lines are lost, and how many is the first thing it says when it can be written again (#209).
What servers and libraries have to say goes the same way, as the event `log`, so that every line has one form.
"""

import json
import logging
import re
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from realmint.protocol import system_clock

LOGGER = logging.getLogger("realmint")
_LEVELS = logging.getLevelNamesMapping()
_WIDE = 2**63
MAX_VALUE = 256
"""Characters of one value that are written."""
_MAX_ITEMS = 16
_QUERY = re.compile(r"\?\S*")
# What looks like a secret or a token of ours, put where a name belongs, is still one (#208).
_SECRET = re.compile(r"(rm[st]_)[A-Za-z0-9_-]{16,}")
# A run that begins like a token and has no dot is matched whole, and only searched for secrets: nothing is looked
# through again from each of its parts.
_HIDDEN = re.compile(_SECRET.pattern + r"|(eyJ)[A-Za-z0-9_-]{8,}+(\.[A-Za-z0-9_.-]+)?")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# gunicorn quotes what it refuses: whole lines of a request, whatever they hold, and names of headers in capitals.
_REFUSED = re.compile(r"(Invalid request from ip=[^'\"]*)['\"]")
_REFUSED_NAME = re.compile(r"Invalid request from ip=\S* Invalid HTTP [Hh]eader(?: name)?: '[A-Z0-9_-]+'")


def event(name: str, *, level: str = "INFO", **fields: Any) -> None:
    """Writes one event. Fields that are None are left out."""
    number = _LEVELS[level]
    if not LOGGER.isEnabledFor(number):
        return
    said = {k: v for k, v in fields.items() if v is not None}
    listening = LOGGER.handlers
    if len(listening) == 1 and type(listening[0]) is _Handler and not LOGGER.filters:
        listening[0].say(number, level, name, said)  # nobody else is to have a record, which costs more than the line
    else:
        LOGGER.log(number, name, extra={"realmint_fields": said})


def configure(level: str, style: str) -> None:
    """Sends every line to standard error, in `text` or `json`, from `level` on, and keeps libraries' debug talk out.

    Authlib's loggers write whole token responses at DEBUG (facts L12): they are capped at INFO whatever the
    level of ours. Of other loggers come warnings and what they themselves set to be written, as servers do.
    """
    # Not the handler's level: Flask and Werkzeug add a handler of their own where they find none for their level.
    handler = _Handler(sys.stderr, _JSON() if style == "json" else _Text(), _LEVELS[level])
    LOGGER.handlers = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Handler)] + [handler]
    logging.getLogger("authlib").setLevel(logging.INFO)
    logging.captureWarnings(True)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_failed


def formatter() -> logging.Formatter:
    """That of the lines, for who writes them elsewhere than to standard error. After configure()."""
    formatter = LOGGER.handlers[0].formatter
    assert formatter is not None
    return formatter


def clean(value: Any) -> Any:
    """A value fit for one line: numbers as they are, text escaped to printable ASCII and cut, lists cut."""
    if (
        type(value) is str
        and len(value) <= MAX_VALUE
        and value.isascii()
        and value.isprintable()
        and not ("\\" in value or "rms_" in value or "rmt_" in value or "eyJ" in value)
    ):
        return value  # most there are: nothing in it to escape, and none of what begins a secret
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < _WIDE):
        return value
    if isinstance(value, float) and abs(value) < 1e300:  # JSON has no word for infinity and NaN
        return value
    if isinstance(value, list | tuple):
        return [clean(item) for item in value[:_MAX_ITEMS]]
    text = _hidden(hex(value) if isinstance(value, int) else str(value)[: MAX_VALUE * 8])
    cut = text[:MAX_VALUE].encode("unicode_escape", "backslashreplace").decode("ascii")
    return cut + "..." if len(text) > MAX_VALUE else cut


class _Handler(logging.StreamHandler[Any]):
    """Counts what could not be written, and says so once it can; prints no traceback in its place."""

    def __init__(self, stream: Any, lines: "_Lines", least: int) -> None:
        super().__init__(stream)
        self.setFormatter(lines)
        self.addFilter(lambda record: record.levelno >= least)
        self._lines = lines
        self._least = least
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        before = self._lost
        super().emit(record)
        self._found(before)

    def say(self, number: int, level: str, name: str, said: Mapping[str, Any]) -> None:
        """As emit() does, an event of ours that nobody made a record of."""
        if number < self._least:
            return
        with self.lock or nullcontext():
            before = self._lost
            try:
                self.stream.write(self._lines.line(level, _event(name, said)) + self.terminator)
                self.stream.flush()
            except Exception:  # noqa: BLE001 - as the base class's emit()
                self._lost += 1
            self._found(before)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the base class's name
        self._lost += 1

    def _found(self, before: int) -> None:
        if before and self._lost == before:
            self._lost = 0
            event("log_lines_lost", count=before, level="WARNING")


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        LOGGER.error("thread_failed", exc_info=args.exc_value)


def _hidden(text: str) -> str:
    return _HIDDEN.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    secret, token, rest = found.groups()
    if token and rest is None:
        return _SECRET.sub(r"\1...", found[0])
    return f"{secret or token}..."


class _Lines(logging.Formatter, ABC):
    def format(self, record: logging.LogRecord) -> str:
        return self.line(record.levelname, _fields(record))

    @abstractmethod
    def line(self, level: str, fields: dict[str, Any]) -> str:
        """What is written of an event, its name among its fields, all of them clean."""


class _JSON(_Lines):
    def line(self, level: str, fields: dict[str, Any]) -> str:
        return json.dumps({"time": system_clock(), "level": level, **fields})


class _Text(_Lines):
    def line(self, level: str, fields: dict[str, Any]) -> str:
        name = fields.pop("event")
        pairs = " ".join([f"{key}={_quoted(value)}" for key, value in fields.items()])
        return f"{_written(system_clock())} {level.lower()} {name} {pairs}".rstrip()


@lru_cache(maxsize=8)  # some thousand lines a second
def _written(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _quoted(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if type(value) is bool:
        return "true" if value else "false"
    if isinstance(value, list):
        value = ",".join(map(str, value))
    text = json.dumps(value) if not isinstance(value, str) else value
    return json.dumps(text) if " " in text or '"' in text or "=" in text or not text else text


def _event(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    named = {"event": clean(name)}
    for key, value in said.items():
        named[key] = value if type(value) is int and -_WIDE < value < _WIDE else clean(value)
    return named


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    if record.name == LOGGER.name:
        named = _event(record.getMessage(), getattr(record, "realmint_fields", {}))
    else:
        named = {"event": "log", "logger": clean(record.name), "pid": record.process, "message": _foreign(record)}
    if record.exc_info and record.exc_info[1] is not None:
        # Type and place, not the message or the locals: a message may quote what a client sent.
        error = record.exc_info[1]
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        named["exception"] = type(error).__name__
        if trace is not None:
            named["at"] = f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
    return named


def _foreign(record: logging.LogRecord) -> str:
    """What somebody else's logger says, fit for one line: no colours, and nothing of a request but its address.

    Clients that err put secrets into the query (#9), and any bytes where a request line or a header should stand.
    """
    text = _COLOUR.sub("", record.getMessage())
    refused = _REFUSED.match(text)
    if refused is not None and not _REFUSED_NAME.fullmatch(text):
        text = f"{refused[1]}..."
    return str(clean(" ".join(_QUERY.sub("?", text).split())))
