"""Ollama's counts: of the whole prompt and the whole output, nothing of a cache or of reasoning."""

from proxy.chat.usage import Usage
from proxy.dialects.counting import count
from proxy.dialects.ollama.shapes import Line


def read_usage(line: Line) -> Usage | None:
    """None where either is absent, as `prompt_eval_count` is when the prompt was still in memory:
    half a report would make the other half free."""
    if line.prompt_eval_count is None or line.eval_count is None:
        return None
    report = {"input": line.prompt_eval_count, "output": line.eval_count}
    return Usage(input=count(report, "input"), output=count(report, "output"))
