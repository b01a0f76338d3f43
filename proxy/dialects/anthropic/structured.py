"""Answers that a schema describes.

The provider has `output_config.format` (docs, "Structured outputs"), but only on models from 4.5
on, and only for schemas within narrow bounds (`additionalProperties: false` everywhere, no numeric
or length constraints, no recursion). Elsewhere a single tool that must be called takes any schema
on any model, and its call is turned back into text (reader.py). A forced tool leaves no room for
thinking and other tools: with those, the provider's own field is the only way.
"""

from typing import Any

from proxy.chat.request import ChatRequest

TOOL = "respond_with_json"
"""The tool's name, by which the reader knows it."""

_OUT_OF_BOUNDS = {
    "allOf", "else", "exclusiveMaximum", "exclusiveMinimum", "if", "maxItems", "maxLength",
    "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "multipleOf",
    "not", "oneOf", "pattern", "patternProperties", "prefixItems", "then", "uniqueItems",
}  # fmt: skip
_ANY_OBJECT = {"type": "object", "additionalProperties": True}
_DESCRIPTION = "Gives the answer to the user. Its input is the whole answer."


def write_format(
    request: ChatRequest, *, version: tuple[int, int] | None, thinks: bool
) -> tuple[dict[str, Any], list[str]]:
    """(members of the body, warnings)."""
    wanted = request.response_format
    own = request.extras.get("anthropic", {})
    if wanted is None or wanted.kind == "text":
        return {}, []
    if "_output_config" in own:
        return {"output_config": {"format": own["_output_config"].get("format")}}, []
    is_free = not request.tools and not thinks
    schema = wanted.schema if wanted.kind == "json_schema" else None
    if schema is not None and not (is_free and not _constrains(schema, version)):
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}, []
    if is_free:
        return _forced_tool(request), []
    lost = "response_format json is not supported by anthropic together with tools or reasoning"
    return {}, [lost]


def _constrains(schema: dict[str, Any], version: tuple[int, int] | None) -> bool:
    """Whether the provider can hold this model to this schema."""
    try:
        return version is not None and version >= (4, 5) and _is_within_bounds(schema)
    except RecursionError:
        return False


def _is_within_bounds(schema: Any, *, defined: bool = False) -> bool:
    """Errs on the side of no: definitions that refer to others may do so in a circle."""
    if isinstance(schema, list):
        return all(_is_within_bounds(item, defined=defined) for item in schema)
    if not isinstance(schema, dict):
        return True
    if _OUT_OF_BOUNDS & schema.keys() or (defined and "$ref" in schema):
        return False
    is_object = schema.get("type") == "object" or "properties" in schema
    if is_object and schema.get("additionalProperties") is not False:
        return False
    return all(
        _is_within_bounds(value, defined=defined or name in ("$defs", "definitions"))
        for name, value in schema.items()
        if name not in ("enum", "const", "default", "examples")
    )


def _forced_tool(request: ChatRequest) -> dict[str, Any]:
    wanted = request.response_format
    assert wanted is not None
    tool = {
        "name": TOOL,
        "description": wanted.description or _DESCRIPTION,
        "input_schema": _object_schema(wanted.schema),
    }
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": TOOL}}


def _object_schema(schema: dict[str, Any] | None) -> dict[str, Any]:
    """A tool's input is an object (API reference, "Tool")."""
    return {"type": "object", **schema} if schema else _ANY_OBJECT
