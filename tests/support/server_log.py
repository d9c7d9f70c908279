"""What a server has written so far, and how its lines begin."""

import json
from typing import Any

from tests.support.process import Deployment

STAMP = r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\dZ"


def told(deployment: Deployment) -> list[dict[str, Any]]:
    """The lines so far, each of which must be one JSON object of the known shape."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in deployment.log.read_text().splitlines()]
    for line in lines:
        assert isinstance(line["time"], int), line
        assert line["level"] in ("INFO", "WARNING", "ERROR", "CRITICAL"), line
        assert line["event"], line
    return lines
