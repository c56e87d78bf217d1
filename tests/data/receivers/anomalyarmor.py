"""The Python sample of AnomalyArmor's page: the body as text, encoded again."""

import hashlib
import hmac


def verify_signature(payload, signature, secret):
    expected = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", signature)


def accepts(request, secret):
    signature = request.headers.get("X-AnomalyArmor-Signature")
    return verify_signature(request.body.decode(), signature, secret)
