"""What callers and providers of this dialect may send: nearly right, and now and then anything.

Leaner than nesting by `st.recursive`, whose draws took longer than everything that was tested, and
nearer to the wire format, so that most of it gets past the first check.
"""

from typing import Any

from hypothesis import strategies as st

Values = st.SearchStrategy[Any]

WORDS = [
    *("message", "function_call", "reasoning", "output_text", "refusal", "summary_text", "error"),
    *("user", "assistant", "developer", "completed", "incomplete", "failed", "queued", "function"),
    *("json_schema", "allowed_tools", "auto", "rate_limit_exceeded", "max_output_tokens", ""),
    *("gateway.bnVsbA==", "gateway.WyJzIix7ImdlbWluaSI6e319XQ==", "data:a/b;base64,AAAA"),
    *("\ud800", "[]"),
]
NAMES = [
    *("type", "role", "content", "input", "output", "item", "part", "delta", "response", "text"),
    *("summary", "arguments", "call_id", "name", "id", "status", "usage", "error", "code"),
    *("message", "tools", "tool_choice", "format", "reasoning", "effort", "include", "prompt"),
    *("instructions", "metadata", "stream", "max_output_tokens", "incomplete_details", "reason"),
    *("encrypted_content", "gateway_extras", "annotations", "logprobs", "image_url", "mode"),
    *("input_tokens", "output_tokens", "input_tokens_details", "created_at", "schema", "strict"),
]

TEXT = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.just(2**70), st.floats(), TEXT)


def _holding(inner: Values) -> Values:
    named = st.tuples(st.sampled_from(NAMES), inner)
    return st.one_of(SCALARS, st.lists(inner, max_size=3), st.lists(named, max_size=3).map(dict))


ANYTHING = _holding(_holding(SCALARS))


def usually(values: Values) -> Values:
    """What belongs in a place, and one time in eight anything."""
    return st.integers(0, 7).flatmap(lambda roll: values if roll < 7 else ANYTHING)


def several(values: Values) -> Values:
    return st.lists(usually(values), max_size=3)


def objects(*kinds: str, needs: dict[str, Values] | None = None, **fields: Values) -> Values:
    """Objects of these types, with what they need and some of their other fields."""
    needed = {name: usually(values) for name, values in (needs or {}).items()}
    kind = st.fixed_dictionaries({"type": st.sampled_from(kinds), **needed} if kinds else needed)
    named = [st.tuples(st.just(name), values) for name, values in fields.items()]
    wrong = st.tuples(st.sampled_from([*fields, "type"]), ANYTHING)
    more = st.lists(st.one_of(*named, wrong), max_size=3)
    return st.builds(lambda own, more: {**own, **dict(more)}, kind, more)


FLAGS = st.booleans()
COUNTS = st.integers(0, 9999)
SCHEMAS = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
NOTES = several(objects("url_citation", "file_citation", url=TEXT, title=TEXT, start_index=COUNTS))
PARTS = several(
    st.one_of(
        objects(
            *("output_text", "input_text", "text", "summary_text", "reasoning_text"),
            needs={"text": TEXT},
            annotations=NOTES,
            logprobs=several(objects(token=TEXT)),
            prompt_cache_breakpoint=FLAGS,
        ),
        objects("refusal", needs={"refusal": TEXT}),
        objects("input_image", needs={"image_url": TEXT}, detail=TEXT, file_id=TEXT),
        objects("input_file", needs={"file_data": TEXT}, file_url=TEXT, filename=TEXT),
        objects("input_audio", input_audio=objects(needs={"data": TEXT}, format=TEXT)),
        objects("unheard_of", text=TEXT),
    )
)
CONTENT = st.one_of(TEXT, PARTS)
SEALED = objects(gemini=objects(thoughtSignature=TEXT), anthropic=objects(signature=TEXT))
ITEMS = st.one_of(
    objects(
        "message",
        needs={
            "role": st.sampled_from(["user", "assistant", "developer", "system"]),
            "content": CONTENT,
        },
        id=TEXT,
        status=TEXT,
        phase=TEXT,
    ),
    objects(
        "function_call",
        needs={"call_id": TEXT, "name": TEXT, "arguments": TEXT},
        id=TEXT,
        status=TEXT,
        gateway_extras=SEALED,
    ),
    objects("custom_tool_call", needs={"call_id": TEXT, "name": TEXT, "input": TEXT}, id=TEXT),
    objects(
        *("function_call_output", "custom_tool_call_output", "mcp_approval_response"),
        needs={"call_id": TEXT, "output": CONTENT},
        name=TEXT,
        id=TEXT,
    ),
    objects("reasoning", needs={"summary": PARTS}, content=PARTS, encrypted_content=TEXT, id=TEXT),
    objects("web_search_call", "item_reference", id=TEXT, status=TEXT, action=ANYTHING),
    st.lists(st.tuples(st.sampled_from(NAMES), ANYTHING), max_size=4).map(dict),
)
TOOLS = objects(
    *("function", "custom", "web_search"),
    needs={"name": TEXT},
    description=TEXT,
    parameters=SCHEMAS,
    strict=FLAGS,
    format=objects("grammar", "text", syntax=TEXT, definition=TEXT),
)
REQUEST_FIELDS: dict[str, Values] = {
    "instructions": TEXT,
    "stream": FLAGS,
    "max_output_tokens": COUNTS,
    "temperature": st.floats(0, 2),
    "top_logprobs": COUNTS,
    "tools": several(TOOLS),
    "tool_choice": st.one_of(
        st.sampled_from(["auto", "none", "required"]),
        objects("function", "custom", "web_search", needs={"name": TEXT}),
        objects("allowed_tools", needs={"mode": TEXT, "tools": several(objects(name=TEXT))}),
    ),
    "parallel_tool_calls": FLAGS,
    "text": objects(
        format=objects(
            *("text", "json_object", "json_schema"),
            needs={"name": TEXT, "schema": SCHEMAS},
            strict=FLAGS,
            description=TEXT,
        ),
        verbosity=TEXT,
    ),
    "reasoning": objects(effort=TEXT, summary=TEXT, context=TEXT),
    "include": several(
        st.sampled_from(
            ["message.output_text.logprobs", "reasoning.encrypted_content", "file_search"]
        )
    ),
    "user": TEXT,
    "safety_identifier": TEXT,
    "metadata": objects(user_id=TEXT, a=TEXT),
    "store": st.just(False),
    "previous_response_id": st.none(),
    "prompt": objects(id=TEXT, version=TEXT),
    "prompt_cache_key": TEXT,
    "truncation": TEXT,
}
REQUESTS = objects(needs={"input": st.one_of(TEXT, several(ITEMS))}, **REQUEST_FIELDS)
USAGE = objects(
    needs={"input_tokens": COUNTS, "output_tokens": COUNTS},
    input_tokens_details=objects(cached_tokens=COUNTS, cache_write_tokens=COUNTS),
    output_tokens_details=objects(reasoning_tokens=COUNTS),
)
ERRORS = objects(code=TEXT, message=TEXT, type=TEXT, param=TEXT)
ANSWERS = objects(
    needs={"output": several(ITEMS)},
    id=TEXT,
    model=TEXT,
    created_at=COUNTS,
    status=st.sampled_from(["completed", "incomplete", "failed", "cancelled", "queued"]),
    usage=USAGE,
    error=ERRORS,
    incomplete_details=objects(reason=TEXT),
)
INDEXES = {name: st.integers(0, 2) for name in ("output_index", "content_index", "summary_index")}
FRAMES = st.one_of(
    objects(
        *("response.output_text.delta", "response.refusal.delta"),
        *("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"),
        *("response.reasoning_summary_text.delta", "response.reasoning_text.delta"),
        needs={"delta": TEXT},
        logprobs=several(objects(token=TEXT)),
        **INDEXES,
    ),
    objects(
        *("response.output_item.added", "response.output_item.done"),
        needs={"item": ITEMS},
        **INDEXES,
    ),
    objects(
        *("response.content_part.added", "response.content_part.done"),
        needs={"part": objects("output_text", "refusal", text=TEXT)},
        **INDEXES,
    ),
    objects(
        *("response.created", "response.in_progress", "response.completed", "response.failed"),
        *("response.incomplete", "response.queued", "response.cancelled"),
        needs={"response": ANSWERS},
    ),
    objects("error", error=ERRORS, code=TEXT, message=TEXT, param=TEXT),
)
