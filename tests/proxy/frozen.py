"""A proxy over a configuration that lives in a database of its own for a moment, and then only in
its snapshot."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.proxy.in_process import InProcess


@contextmanager
def frozen_gateway(document: dict[str, Any]) -> Iterator[InProcess]:
    """For programs; tests have a database already, and use `frozen_in`."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATABASE_URL"] = f"sqlite:///{folder}/frozen.sqlite3"
        os.environ.setdefault("GATEWAY_SECRET_KEY", "for-a-frozen-gateway-and-nothing-else")
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        process = frozen_in(document, Path(folder))
        try:
            yield process
        finally:
            process.close()


def frozen_in(document: dict[str, Any], folder: Path) -> InProcess:
    """Applies the document to the database there is, reads the snapshot, and undoes it."""
    import yaml
    from django.core.management import call_command
    from django.db import transaction

    from proxy.snapshot import read_snapshot
    from tenants.keys import issue_key

    path = folder / "frozen.yaml"
    path.write_text(yaml.safe_dump(document))
    with transaction.atomic():
        call_command("apply_config", str(path), verbosity=0)
        token = issue_key(tenant="acme", name="worker", opaque=True).token
        snapshot = read_snapshot(None)
        transaction.set_rollback(True)
    return InProcess(snapshot, token)
