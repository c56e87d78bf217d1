"""Asks receivers' code what it says of requests. One JSON line in, one JSON line out; bodies in base64.

    {"op": "versions"}                                        -> {"runtime", "standardwebhooks", "why"}
    {"op": "verify", "receiver", "secret", "headers", "body"} -> {"accepted", "why"}
    {"op": "same", "path", "value", "body"}                   -> {"same"}: whether the value at the path
                                                                 of the body is the given one
"""

import base64
import json
import platform
import sys
from decimal import Decimal

import anomalyarmor
import dataflow
import driftguard
import driftlock
import flock
import standard

RECEIVERS = {
    "anomalyarmor": anomalyarmor,
    "dataflow": dataflow,
    "driftguard": driftguard,
    "driftlock": driftlock,
    "flock": flock,
    "standard": standard,
}


class Headers(dict):
    """Headers as frameworks have them: names in any case."""

    def get(self, name, default=None):
        return super().get(name.lower(), default)


class Request:
    def __init__(self, headers, body):
        self.headers = Headers(headers)
        self.body = body


def exact(text):
    """The value of a JSON text, numbers to the last digit."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def answer(question):
    op = question["op"]
    raw = base64.b64decode(question.get("body", ""))
    if op == "versions":
        return {
            "runtime": platform.python_version(),
            "standardwebhooks": standard.version,
            "why": standard.why,
        }
    if op == "verify":
        receiver = RECEIVERS[question["receiver"]]
        request = Request(question["headers"], raw)
        return {"accepted": receiver.accepts(request, question["secret"]) is True}
    if op == "same":
        found = exact(raw.decode())
        for key in question["path"]:
            found = found[key]
        return {"same": found == exact(base64.b64decode(question["value"]).decode())}
    raise ValueError(f"no such question: {op}")


for line in sys.stdin:
    try:
        said = answer(json.loads(line))
    except Exception as error:  # a receiver that raises answers 500: the request is not accepted
        said = {"accepted": False, "why": repr(error)}
    print(json.dumps(said), flush=True)
