"""The peers: LiteLLM's proxy and Portkey's gateway, in front of the same upstream.

    python -m bench.peers install [litellm] [portkey]

puts each in a folder of its own under var/bench, and nowhere else. Both run as they come, on one
process, without a database: no budgets, no usage records, no limits. The versions are pinned, so
that a figure can be repeated; raise them on purpose.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from bench import Failure
from bench.calls import MODELS, Door
from bench.process import cores, environment, free_port, running
from bench.subjects import Running

HOME = Path(__file__).resolve().parent.parent / "var" / "bench"
LITELLM_PACKAGE = "litellm[proxy]==1.106.2"
PORTKEY_PACKAGES = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    # the newer ones that npm would choose make every stream fail: Portkey-AI/gateway#1389
    "overrides": {"@hono/node-server": "1.13.5"},
}
NOT_INSTALLED = "not installed: python -m bench.peers install {}"


class LiteLLM:
    """`litellm[proxy]` with a master key; its telemetry and its price download are switched off."""

    name = "litellm"
    title = "LiteLLM proxy"
    home = HOME / name

    def missing(self) -> str | None:
        return None if (self.home / "bin/litellm").exists() else NOT_INSTALLED.format(self.name)

    def install(self) -> None:
        python = str(self.home / "bin/python")
        if shutil.which("uv"):
            _run("uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(self.home))
            _run("uv", "pip", "install", "--quiet", "--python", python, LITELLM_PACKAGE)
        else:
            _run(sys.executable, "-m", "venv", "--clear", str(self.home))
            _run(python, "-m", "pip", "install", "--quiet", LITELLM_PACKAGE)

    @contextmanager
    def running(self, upstream: Running, folder: Path) -> Iterator[Running]:
        config = folder / "litellm.yaml"
        config.write_text(yaml.safe_dump(self._config(upstream.door)))
        door = Door(free_port(), headers=(("authorization", "Bearer sk-bench-caller"),))
        command = [str(self.home / "bin/litellm"), "--config", str(config)]
        command += ["--host", door.host, "--port", str(door.port), "--telemetry", "False"]
        env = environment(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR")
        with running(
            command, core=cores()[0], log=folder / "litellm.log", cwd=folder, env=env
        ) as process:
            process.wait_ready(door.base + "/health/liveliness")
            yield Running(door, process)

    def _config(self, upstream: Door) -> dict[str, object]:
        def model(name: str) -> dict[str, object]:
            base = upstream.base + "/v1"
            target = {"model": f"openai/{name}", "api_base": base, "api_key": "sk-bench"}
            return {"model_name": name, "litellm_params": target}

        return {
            "model_list": [model(name) for name in MODELS],
            "general_settings": {"master_key": "sk-bench-caller"},
        }


class Portkey:
    """`@portkey-ai/gateway`, told by headers which host to call."""

    name = "portkey"
    title = "Portkey gateway"
    home = HOME / name

    @property
    def script(self) -> Path:
        return self.home / "node_modules/@portkey-ai/gateway/build/start-server.js"

    def missing(self) -> str | None:
        if not shutil.which("node"):
            return "not installed: needs Node.js"
        return None if self.script.exists() else NOT_INSTALLED.format(self.name)

    def install(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "package.json").write_text(json.dumps(PORTKEY_PACKAGES, indent=1))
        quiet = ["--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        _run("npm", "install", *quiet, "--prefix", str(self.home))

    @contextmanager
    def running(self, upstream: Running, folder: Path) -> Iterator[Running]:
        headers = (
            ("authorization", "Bearer sk-bench"),
            ("x-portkey-provider", "openai"),
            ("x-portkey-custom-host", upstream.door.base + "/v1"),
        )
        door = Door(free_port(), headers=headers)
        command = ["node", str(self.script), f"--port={door.port}", "--headless"]
        env = environment(NODE_ENV="production")
        with running(command, core=cores()[0], log=folder / "portkey.log", env=env) as process:
            process.wait_ready(door.base)
            yield Running(door, process)


PEERS = (LiteLLM(), Portkey())


def _run(*command: str) -> None:
    if not shutil.which(command[0]):
        raise Failure(f"{command[0]} is needed for this")
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Failure(f"{' '.join(command)} failed:\n{(ran.stderr or ran.stdout)[-2000:]}")


def main() -> int:
    """Install the named peers; the exit code counts those that could not be."""
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="install the peers")
    parser.add_argument("action", choices=["install"])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(names)}; all")
    arguments = parser.parse_args()
    if unknown := set(arguments.peers) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    failed = 0
    for peer in PEERS:
        if arguments.peers and peer.name not in arguments.peers:
            continue
        try:
            if peer.missing():
                print(f"{peer.title}: installing into {peer.home}", flush=True)
                peer.install()
            print(f"{peer.title}: {peer.missing() or 'installed'}")
        except Failure as failure:
            failed += 1
            print(f"{peer.title}: not installed: {failure}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
