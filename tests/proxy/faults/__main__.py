import argparse
import os
import sys
import tempfile
from pathlib import Path

# Before anything is imported that reads them.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")


def _run() -> int:
    """The number of runs that are not as the table says, each with what is not."""
    from tests.proxy.faults.expecting import differences
    from tests.proxy.faults.running import run_all, runs

    with tempfile.TemporaryDirectory() as folder:
        seen = run_all(runs(), Path(folder))
    wrong = 0
    for run, what in seen:
        found = differences(run, what)
        if found:
            wrong += 1
            print(f"{run.fault.name}: {run}: {'; '.join(found)}")
    print(f"{len(seen)} runs, {wrong} not as the table says", file=sys.stderr)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.proxy.faults")
    parser.add_argument("--run", action="store_true", help="run the table on real sockets")
    if parser.parse_args().run:
        sys.exit(bool(_run()))
    from tests.proxy.faults.page import written

    print(written(), end="")


main()
