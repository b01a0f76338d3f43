"""The fault matrix: every fault of the table, on real sockets, ends as the table says."""

from collections import Counter
from pathlib import Path

import pytest

from proxy.dialects import OUTBOUND
from tests.gateway_process import ROOT
from tests.proxy import matrix
from tests.proxy.faults import page
from tests.proxy.faults.expecting import differences
from tests.proxy.faults.running import Run, Seen, run_all, runs
from tests.proxy.faults.table import GROUPS

pytestmark = pytest.mark.once

FAULTS = [fault for faults in GROUPS.values() for fault in faults]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Run, Seen]]:
    """What became of every run, all against one gateway."""
    return run_all(runs(), tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_a_fault_ends_as_the_table_says(seen: list[tuple[Run, Seen]], name: str) -> None:
    ours = [(run, what) for run, what in seen if run.fault.name == name]
    assert ours
    wrong = {str(run): found for run, what in ours if (found := differences(run, what))}
    assert wrong == {}


def test_every_fault_has_a_name_of_its_own() -> None:
    names = Counter(fault.name for fault in FAULTS)
    assert [name for name, count in names.items() if count > 1] == []


def test_the_page_is_what_the_command_prints() -> None:
    assert Path(ROOT, "docs", "faults.md").read_text() == page.written()


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(
    "id_",
    [
        "anthropic-msg-n-3b584310",
        "ollama-oaichat-n-3fac73ef",
        "openai-resp-n-b3d5609d",
        "x-deepseek-chat-n-2c537e46",
    ],
)
def test_an_input_that_was_recorded_as_too_long_is_known_by_its_words(id_: str) -> None:
    exchange = matrix.exchanges()[id_]
    status, body = exchange["response_status"], exchange["response_body"].encode()
    outbound = OUTBOUND[matrix.PROVIDERS[exchange["dialect"]]]
    assert outbound.read_error(status, body, retry_after=None).kind == "context_window"
