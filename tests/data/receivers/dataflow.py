"""The Python sample of DataFlow's page: the body as text behind the time, the header read by position."""

import hashlib
import hmac


def verify_webhook_signature(payload, signature, secret):
    parts = signature.split(",")
    timestamp = parts[0].split("=")[1]
    received_hash = parts[1].split("=")[1]

    signed_payload = f"{timestamp}.{payload}"
    expected_hash = hmac.new(
        secret.encode(), signed_payload.encode(), hashlib.sha256
    ).hexdigest()

    return hmac.compare_digest(received_hash, expected_hash)


def accepts(request, secret):
    signature = request.headers.get("X-DataFlow-Signature")
    return verify_webhook_signature(request.body.decode(), signature, secret)
