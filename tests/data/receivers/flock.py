"""The Python sample of Flock's page: the raw body."""

import hashlib
import hmac


def verify_webhook(request_body: bytes, signature: str, secret: str) -> bool:
    expected = hmac.new(secret.encode(), request_body, hashlib.sha256).hexdigest()

    return hmac.compare_digest(f"sha256={expected}", signature)


def accepts(request, secret):
    signature = request.headers.get("X-Flock-Signature", "")
    return verify_webhook(request.body, signature, secret)
