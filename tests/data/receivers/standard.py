"""The published package standardwebhooks, from HOOKWHEEL_PYTHON_PACKAGES (a directory of packages)."""

import os
import sys

if os.environ.get("HOOKWHEEL_PYTHON_PACKAGES"):
    sys.path.insert(0, os.environ["HOOKWHEEL_PYTHON_PACKAGES"])

version = None
why = None
try:
    from importlib.metadata import version as version_of

    from standardwebhooks import Webhook

    version = version_of("standardwebhooks")
except ImportError as error:
    why = str(error)


def accepts(request, secret):
    Webhook(secret).verify(request.body, dict(request.headers))  # raises if it does not verify
    return True
