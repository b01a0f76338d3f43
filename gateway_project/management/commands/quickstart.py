"""`make run`: a gateway that answers, from nothing, on a laptop."""

import datetime
import os
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from gateway_project.env import BASE_DIR
from gateway_project.quickstart import ADMIN, admin_password, seed
from tenants.keys import issue_key


class Command(BaseCommand):
    help = "Migrates, adds a demo tenant where there is none, prints how to call it, and serves."

    def handle(self, *_: Any, **__: Any) -> None:
        listening = self._listen()
        call_command("migrate", verbosity=0)
        for line in seed():
            self.stdout.write(line)
        token = issue_key(
            tenant="demo",
            name="quickstart",
            scopes=["usage:read"],
            lifetime=datetime.timedelta(days=7),
        ).token
        self._show(token)
        environment = {**os.environ, "GATEWAY_SECRET_KEY": settings.SECRET_KEY}
        environment.pop("GATEWAY_SECRET_KEY_FILE", None)
        sys.stdout.flush()
        listening.set_inheritable(True)
        listens = ["--fd", str(listening.fileno())]
        command = [sys.executable, str(BASE_DIR / "manage.py"), "serve", *listens]
        os.execve(sys.executable, command, environment)  # noqa: S606  (our own interpreter)

    def _listen(self) -> socket.socket:
        """Callers may use what is printed at once: until the server is up, they wait in line."""
        try:
            return socket.create_server(("127.0.0.1", settings.ENVIRONMENT.port), backlog=2048)
        except OSError as error:
            port = settings.ENVIRONMENT.port
            raise CommandError(
                f"Port {port} cannot be used: {error.strerror}. Choose another with PORT."
            ) from None

    def _show(self, token: str) -> None:
        base = f"http://127.0.0.1:{settings.ENVIRONMENT.port}"
        password = admin_password()
        login = f"{ADMIN} / {password}" if password else "your own superuser"
        self.stdout.write(
            f"\nAdmin:     {base}/admin/   login: {login}\n"
            f"Demo JWT:  {token}\n\n"
            "Try it:\n"
            f"curl -N {base}/chat/pro -H 'Authorization: Bearer {token}' "
            "-H 'Content-Type: application/json' "
            """-d '{"messages":[{"role":"user","content":"Hello, gateway!"}],"stream":true}'\n"""
        )
