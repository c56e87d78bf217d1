"""Asks generated verifiers what they say of requests: the directory's `cases.json` in, one JSON line for each case out."""

import base64
import importlib.util
import inspect
import json
import pathlib
import sys

directory = pathlib.Path(sys.argv[1])
for one in json.loads((directory / "cases.json").read_text()):
    spec = importlib.util.spec_from_file_location(one["name"], directory / one["file"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    is_timed = "now" in inspect.signature(module.verify).parameters
    for at, case in enumerate(one["cases"]):
        more = {"now": case["now"]} if is_timed else {}
        why = None
        try:
            module.verify(base64.b64decode(case["body"]), case["headers"], case["keys"], **more)
        except (module.VerificationError, ValueError) as error:
            why = str(error)
        print(json.dumps({"name": one["name"], "at": at, "why": why}))
