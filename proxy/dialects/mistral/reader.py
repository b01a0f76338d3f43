"""Mistral's answers as canonical events: those of chat completions, but that `content` may be an
array with `thinking` chunks, and that a padding `p` may stand beside a chunk."""

from typing import Any, ClassVar

from proxy.chat.events import FinishReason, ReasoningDelta, TextDelta
from proxy.dialects.openai.reader import Events, StreamReader, text_of


class MistralReader(StreamReader):
    dialect: ClassVar[str] = "mistral"
    finish_reasons: ClassVar[dict[str, FinishReason]] = {
        **StreamReader.finish_reasons,
        "model_length": "length",
    }

    def read_content(self, choice: int, content: Any, events: Events) -> None:
        for part in content if isinstance(content, list) else (content,):
            if isinstance(part, dict) and part.get("type") == "thinking":
                if thought := text_of(part.get("thinking")):
                    block = self.block(choice, "reasoning", "reasoning", events)
                    events.append(ReasoningDelta(block, thought))
            elif isinstance(part, dict) and part.get("type") == "reference":
                block = self.block(choice, "text", "text", events)
                references = {"references": part.get("reference_ids") or []}
                events.append(TextDelta(block, "", extras={"mistral": references}))
            elif text := text_of([part]):
                block = self.block(choice, "text", "text", events)
                events.append(TextDelta(block, text))
