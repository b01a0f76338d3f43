"""GATEWAY_EMAIL_URL becomes Django's settings."""

import pytest

from gateway_project.mail import mail_settings


def test_everything_of_it() -> None:
    url = "smtp://ai%40acme:p%3Ass@mail.example:2525?from=ai@acme.example"
    assert mail_settings(url) == {
        "EMAIL_HOST": "mail.example",
        "EMAIL_PORT": 2525,
        "EMAIL_HOST_USER": "ai@acme",
        "EMAIL_HOST_PASSWORD": "p:ss",
        "EMAIL_USE_SSL": False,
        "EMAIL_USE_TLS": True,
        "EMAIL_TIMEOUT": 5,
        "DEFAULT_FROM_EMAIL": "ai@acme.example",
    }


@pytest.mark.parametrize(
    ("url", "port", "implicit", "starttls"),
    [
        ("smtp://mail.example?from=a@b", 587, False, True),
        ("smtps://mail.example?from=a@b", 465, True, False),
        ("smtp://127.0.0.1:25?from=a@b&tls=no", 25, False, False),
    ],
)
def test_how_it_is_encrypted(url: str, port: int, implicit: bool, starttls: bool) -> None:
    found = mail_settings(url)
    assert found["EMAIL_PORT"] == port
    assert (found["EMAIL_USE_SSL"], found["EMAIL_USE_TLS"]) == (implicit, starttls)


@pytest.mark.parametrize(
    "url",
    [
        "mail.example:587",
        "http://mail.example?from=a@b",
        "smtp://mail.example",
        "smtp://mail.example?from=nobody",
        "smtp://u:hunter2@mail.example:x?from=a@b",
        "smtp://u:hunter2@mail.example?from=a@b&ssl=yes",
        "smtp://u:hunter2@mail.example?from=a@b%0AX: y",
    ],
)
def test_what_is_wrong_is_said_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as raised:
        mail_settings(url)
    assert "hunter2" not in str(raised.value)
