"""Management commands of another installation, without the two seconds each would take to start.

`python -m tests.clerk` reads a request a line from standard input and answers with a line of JSON:

    {"command": ["issue_key", "acme", "k"]}            -> {"out": "…", "error": null}
    {"rows": ["billing.UsageRecord", {"tenant": …}]}   -> {"rows": […], "error": null}
"""

import io
import json
import os
import sys
from typing import Any


def _run(words: list[str]) -> dict[str, Any]:
    from django.core.management import CommandError, call_command

    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(*words, stdout=out, stderr=err)
    except (CommandError, SystemExit) as error:
        return {"out": out.getvalue(), "err": err.getvalue(), "error": str(error)}
    return {"out": out.getvalue(), "err": err.getvalue(), "error": None}


def _rows(label: str, wanted: dict[str, Any]) -> dict[str, Any]:
    from django.apps import apps

    rows = apps.get_model(label)._default_manager.filter(**wanted).values()
    return {"rows": list(rows), "error": None}


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    return _rows(*request["rows"]) if "rows" in request else _run(request["command"])


def main() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings"
    django.setup()
    from django.core.serializers.json import DjangoJSONEncoder
    from django.db import close_old_connections

    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        close_old_connections()
        try:
            answer = _answer(json.loads(line))
        except Exception as error:  # noqa: BLE001  (whatever it is, the test is told)
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, cls=DjangoJSONEncoder), file=answers, flush=True)


if __name__ == "__main__":
    main()
