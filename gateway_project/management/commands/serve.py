"""The production server."""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from routing import config

log = structlog.get_logger("gateway.serve")

DRAIN_SECONDS = 30
LAST_PORT = 65535


def port(text: str) -> int:
    """A TCP port on the command line."""
    if not text.isdigit() or not 1 <= int(text) <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"a port is 1 to {LAST_PORT}")
    return int(text)


class Command(BaseCommand):
    help = "Serves the gateway: data plane, consoles and API."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=port, default=settings.ENVIRONMENT.port)
        parser.add_argument("--workers", type=int, default=1)
        parser.add_argument("--fd", type=int, help="A socket that listens already.")

    def handle(self, *_: Any, **options: Any) -> None:
        self._check(options["workers"])
        self._prepare()
        # uvicorn restores and re-raises the signal that ended it; a drained server has done its
        # work, so the exit code is 0 and not the signal's.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
        if options["workers"] > 1:
            self._share_metrics()
        # The workers are new processes, which read their settings from the environment.
        os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings"
        uvicorn.run(
            "gateway_project.asgi:application",
            host=options["host"],
            port=options["port"],
            fd=options["fd"],
            workers=options["workers"],
            loop="uvloop",
            http="gateway_project.http_protocol:HttpProtocol",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )

    def _share_metrics(self) -> None:
        """Several workers count in files of one folder, begun anew with each start."""
        folder = settings.SPOOL_DIR / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)

    def _check(self, workers: int) -> None:
        if not settings.SECRET_KEY_GIVEN:
            raise CommandError("GATEWAY_SECRET_KEY is not set; serve needs it.")
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        try:
            settings.SPOOL_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CommandError(f"GATEWAY_SPOOL_DIR cannot be used: {error}") from None
        if workers > 1 and not settings.ENVIRONMENT.redis_url:
            raise CommandError(
                "More than one worker needs REDIS_URL: limits and budgets of several processes "
                "hold only when they share their counters."
            )

    def _prepare(self) -> None:
        """Applies GATEWAY_CONFIG and says what of the configuration is stored only. A database that
        is away does not stop the start: the workers are not ready until it answers."""
        try:
            behind = MigrationExecutor(connection)
            if behind.migration_plan(behind.loader.graph.leaf_nodes()):
                raise CommandError("The database is not migrated: run manage.py migrate first.")
            self._apply_config(settings.ENVIRONMENT.config)
            for section in config.not_in_force():
                log.warning("stored, but not in force yet", section=section)
        except (OperationalError, InterfaceError) as error:
            log.error("the database is away; the start goes on", error=str(error))
        finally:
            connection.close()

    def _apply_config(self, path: Path | None) -> None:
        if path is None:
            return
        try:
            outcome = config.apply(path.read_text(), source=str(path), by="GATEWAY_CONFIG")
        except OSError as error:
            raise CommandError(f"GATEWAY_CONFIG cannot be read: {error}") from None
        except config.ConfigInvalid as invalid:
            raise CommandError(f"GATEWAY_CONFIG: {invalid}") from None
        for line in outcome.changes:
            log.info("configuration", change=line)
        for warning in outcome.warnings:
            log.warning("configuration", warning=warning)
