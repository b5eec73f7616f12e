"""Secrets of webhooks: made from the service's own, so that none is stored."""

import base64
import hashlib
import hmac

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with


def webhook_secret(secret: bytes, salt: str) -> str:
    """Return a webhook's secret, made from the service's and the webhook's salt."""
    made = hmac.new(secret, f"webhook {salt}".encode(), hashlib.sha256).digest()
    return SECRET_PREFIX + base64.b64encode(made).decode()
