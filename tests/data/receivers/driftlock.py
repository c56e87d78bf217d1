"""The Python sample of Driftlock's page: the raw body."""

import hashlib
import hmac


def verify_signature(request, secret):
    signature = request.headers.get("X-Driftlock-Signature")
    body = request.body

    expected_signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()

    return hmac.compare_digest(signature, expected_signature)


def accepts(request, secret):
    return verify_signature(request, secret)
