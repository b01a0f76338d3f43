"""`apply_config` and `export_config` at the command line."""

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from tenants.models import Tenant

pytestmark = pytest.mark.django_db


def _run(*arguments: str) -> tuple[list[str], list[str]]:
    """Lines of standard output and of standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue().splitlines(), err.getvalue().splitlines()


@pytest.fixture
def small(tmp_path: Path, small_file: str) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(small_file)
    return str(path)


def test_a_diff_is_printed_and_the_second_time_none(small: str) -> None:
    out, err = _run("apply_config", small)
    assert "+ tenants.acme" in out
    [warning] = err
    assert warning.startswith("warning: providers.openai.credentials[0].secret: ")
    assert _run("apply_config", small)[0] == ["no changes"]


def test_a_dry_run_says_so(small: str) -> None:
    out, err = _run("apply_config", small, "--dry-run")
    assert "+ tenants.acme" in out
    assert err[-1] == "dry run: nothing was changed"
    assert not Tenant.objects.exists()


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"tenants: {acme: {}}")))
    assert _run("apply_config", "-")[0] == ["+ tenants.acme"]


def test_what_the_file_lacks_can_be_pruned(small: str, tmp_path: Path) -> None:
    _run("apply_config", small)
    (tmp_path / "empty.yaml").write_text("")
    assert "- tenants.acme" in _run("apply_config", str(tmp_path / "empty.yaml"), "--prune")[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"tenants: {acme: {tear: x, tier: y}}", "tenants.acme.tear: unknown key"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[1", "not YAML"),
        (b"just text", "must be a mapping"),
    ],
)
def test_a_bad_file_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(CommandError, match=said):
        _run("apply_config", str(tmp_path / "bad.yaml"))


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(CommandError, match="No such file"):
        _run("apply_config", "/no/such/file.yaml")


def test_each_problem_has_a_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("tenants:\n  acme:\n    tear: x\n    budgets: [{amount: 1, period: moth}]\n")
    with pytest.raises(CommandError) as raised:
        _run("apply_config", str(bad))
    assert str(raised.value).splitlines() == [
        f"{bad}: nothing was changed",
        "tenants.acme.tear: unknown key; did you mean 'tier'? (line 3)",
        "tenants.acme.budgets[0].period: must be 'hour', 'day', 'week', 'month' or 'total'; "
        "did you mean 'month'? (line 4)",
    ]


def test_an_export_applies_without_a_change(small: str, tmp_path: Path) -> None:
    _run("apply_config", small)
    exported = tmp_path / "exported.yaml"
    assert _run("export_config", "--out", str(exported)) == ([], [])
    assert _run("export_config")[0] == exported.read_text().splitlines()
    assert _run("apply_config", str(exported), "--prune")[0] == ["no changes"]


def test_an_export_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(CommandError, match="directory"):
        _run("export_config", "--out", "/no/such/folder/file.yaml")


def test_the_exit_code_of_a_bad_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("tenants: {acme: {tear: x}}")
    command: list[Any] = [sys.executable, "manage.py", "apply_config", tmp_path / "bad.yaml"]
    result = subprocess.run(
        command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False, env=None
    )
    assert result.returncode == 1
    assert "tenants.acme.tear" in result.stderr
    assert "Traceback" not in result.stderr
