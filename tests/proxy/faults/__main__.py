import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.proxy.faults import page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.proxy.faults")
    parser.add_argument("--run", action="store_true", help="run the table on real sockets")
    options = parser.parse_args()
    if not options.run:
        print(page.written(), end="")
        return
    os.environ.setdefault("GATEWAY_SECRET_KEY", "for a gateway under faults, and nothing else")
    from tests.proxy.faults.expecting import differences
    from tests.proxy.faults.running import run_all, runs

    with tempfile.TemporaryDirectory() as folder:
        seen = run_all(runs(), Path(folder))
    found = [f"{run.fault.name}: {run}: {'; '.join(d)}" for run, s in seen if (d := differences(run, s))]
    print("\n".join(found))
    print(f"{len(seen)} runs, {len(found)} not as the table says", file=sys.stderr)
    sys.exit(bool(found))


main()
