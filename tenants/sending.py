"""One delivery on its way: signed and posted, or mailed. Only here are webhooks called.

A webhook's URL is a tenant's: it is called at a public address only, the very one that was checked
(see gateway_project/public_client.py); no redirect is followed and no proxy asked, for either would
lead elsewhere. An answer counts by its status; its body is not read.
"""

import asyncio
import base64
import binascii
import datetime
import smtplib
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
from django.conf import settings
from django.core.mail import send_mail
from standardwebhooks import Webhook as Signer

from gateway_project.public_client import public_client
from gateway_project.public_hosts import AddressRefused
from tenants import messages
from tenants.events import Event

STEP_SECONDS = 5.0
"""To connect, to send, and until the answer begins."""

WHOLE_SECONDS = 10.0
"""For all of it, look-up and slow trickles included."""

GONE = 410
PREFIX = "whsec_"
LONGEST_ERROR = 200


class Unsendable(Exception):
    """There is no way to send it; the message says why."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What goes to whom. `message_id` stays the same over all attempts."""

    format: str
    url: str = field(repr=False)
    secret: str = field(repr=False)
    message_id: str
    sent_at: datetime.datetime
    event: Event


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt went: no `error` means that it arrived. A final one is not tried again."""

    error: str = ""
    status: int | None = None
    is_final: bool = False


def signing_key(secret: str) -> bytes:
    """`whsec_…` is base64 of the key, as Standard Webhooks wants it; of any other text the key is
    its UTF-8. Raises Unsendable for what begins like the former and is none."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(PREFIX)
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise Unsendable("the webhook's secret begins with whsec_ but is no base64") from None


async def send_all(letters: Sequence[Letter | Outcome]) -> list[Outcome]:
    """Sends them side by side; what is an outcome already stays. Raises nothing."""
    return await asyncio.gather(*(_send(letter) for letter in letters))


async def _send(letter: Letter | Outcome) -> Outcome:
    if isinstance(letter, Outcome):
        return letter
    try:
        if letter.format == "email":
            return await asyncio.to_thread(_mail, letter)
        async with asyncio.timeout(WHOLE_SECONDS):
            return await _post(letter)
    except (TimeoutError, httpx.TimeoutException):
        return Outcome("timed out")
    except httpx.ConnectError as error:
        return Outcome(f"cannot connect: {error}"[:LONGEST_ERROR])
    except (AddressRefused, Unsendable) as error:
        return Outcome(str(error)[:LONGEST_ERROR])
    except Exception as error:  # noqa: BLE001  (one webhook's trouble is no other's)
        return Outcome(f"failed: {type(error).__name__}")


def _signed(letter: Letter) -> tuple[bytes, dict[str, str]]:
    """Body and headers. Raises Unsendable when a standard webhook has nothing to sign with."""
    headers = {"content-type": "application/json", "user-agent": "gateway-webhooks/1"}
    if letter.format == "slack":
        return messages.slack(letter.event).encode(), headers
    if not (key := signing_key(letter.secret)):
        raise Unsendable("the webhook's secret is not set")
    body, at = messages.standard(letter.event), letter.sent_at.astimezone(datetime.UTC)
    signature = Signer(key).sign(letter.message_id, at, body)
    return body.encode(), headers | {
        "webhook-id": letter.message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


async def _post(letter: Letter) -> Outcome:
    body, headers = _signed(letter)
    async with await public_client(timeout=STEP_SECONDS) as client:
        request = client.build_request("POST", letter.url, content=body, headers=headers)
        answer = await client.send(request, stream=True)
        await answer.aclose()
    if answer.is_success:
        return Outcome(status=answer.status_code)
    said = f"HTTP {answer.status_code}"
    if answer.has_redirect_location:
        said += ", and redirects are not followed"
    return Outcome(said, answer.status_code, is_final=answer.status_code == GONE)


def _mail(letter: Letter) -> Outcome:
    if settings.ENVIRONMENT.email_url is None:
        return Outcome("GATEWAY_EMAIL_URL is not set")
    subject, body = messages.email(letter.event)
    try:
        send_mail(subject, body, None, [letter.url.removeprefix("mailto:")])
    except (smtplib.SMTPException, OSError) as error:
        code = getattr(error, "smtp_code", None) or getattr(error, "errno", None)
        said = type(error).__name__ + (f" {code}" if code else "")
        return Outcome(f"the mail server did not take it: {said}")
    return Outcome()
