"""The Python sample of DriftGuard's page: the raw body."""

import hashlib
import hmac


def verify_signature(payload_body: bytes, secret: str, signature_header: str) -> bool:
    expected = hmac.new(secret.encode(), payload_body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature_header)


def accepts(request, secret):
    return verify_signature(request.body, secret, request.headers.get("X-DriftGuard-Signature"))
