"""One line per event, as text or JSON: who, what, which jti and kid, and why. Never a token or a secret.

Values are escaped and cut, so that nothing a client sends can forge or break a line (#207).
"""

import json
import logging
import sys
from typing import Any

from realmint.protocol import system_clock

LOGGER = logging.getLogger("realmint")
MAX_VALUE = 256


def event(name: str, *, level: str = "INFO", **fields: Any) -> None:
    """Writes one event. Fields that are None are left out."""
    number = logging.getLevelNamesMapping()[level]
    if LOGGER.isEnabledFor(number):
        LOGGER.log(number, name, extra={"realmint_fields": {k: v for k, v in fields.items() if v is not None}})


def configure(level: str, style: str) -> None:
    """Sends the events to standard error, in `text` or `json`, and keeps libraries' debug talk out.

    Authlib's loggers write whole token responses at DEBUG (facts L12): they are capped at INFO whatever the
    level of ours.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSON() if style == "json" else _Text())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False
    logging.getLogger("authlib").setLevel(logging.INFO)


def clean(value: Any) -> Any:
    """A value fit for one line: numbers as they are, text escaped to printable ASCII and cut."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    text = str(value)
    cut = text[:MAX_VALUE].encode("unicode_escape", "backslashreplace").decode("ascii")
    return cut + "..." if len(text) > MAX_VALUE else cut


class _JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"time": system_clock(), "level": record.levelname, **_fields(record)})


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        name = fields.pop("event")
        pairs = " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())
        return f"{record.levelname.lower()} {name} {pairs}".rstrip()


def _quoted(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return json.dumps(text) if " " in text or '"' in text or "=" in text or not text else text


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {key: clean(value) for key, value in getattr(record, "realmint_fields", {}).items()}
    named = {"event": clean(record.getMessage()), **fields}
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
