"""Two ways to say a schema: the API's own subset of OpenAPI 3.0 (ai.google.dev/api/caching,
"Schema"), and JSON Schema, which newer fields take (`responseJsonSchema`, `parametersJsonSchema`).
"""

from typing import Any

from proxy.dialects.gemini.spelling import camel

_ONE = frozenset({"items", "additionalProperties"})
_MANY = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_NAMED = frozenset({"properties", "$defs", "defs"})
_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
_REFUSED = frozenset({"$schema", "$comment", "examples", "discriminator"})
"""Keywords that constrain nothing, and that the API does not know."""


def _converted(schema: Any, convert: Any) -> Any:
    """The schema with its parts, at every depth, converted too."""
    if not isinstance(schema, dict):
        return schema
    converted: dict[str, Any] = {}
    for name, value in convert(schema).items():
        if name in _ONE:
            converted[name] = _converted(value, convert)
        elif name in _MANY and isinstance(value, list):
            converted[name] = [_converted(item, convert) for item in value]
        elif name in _NAMED and isinstance(value, dict):
            converted[name] = {key: _converted(item, convert) for key, item in value.items()}
        else:
            converted[name] = value
    return converted


def _to_json_schema(given: dict[str, Any]) -> dict[str, Any]:
    schema = {camel(name): value for name, value in given.items()}
    nullable = schema.pop("nullable", False)
    schema.pop("propertyOrdering", None)
    if "example" in schema:
        schema["examples"] = [schema.pop("example")]
    kind = schema.get("type")
    if isinstance(kind, str):
        kind = kind.lower()
        schema["type"] = [kind, "null"] if nullable else kind
    if schema.get("type") == "type_unspecified":
        del schema["type"]
    if schema.get("format") == "enum":
        del schema["format"]
    for name in _COUNTS & schema.keys():  # 64-bit numbers come as text in protobuf's JSON
        count = schema[name]
        schema[name] = int(count) if isinstance(count, str) and count.isdecimal() else count
    return schema


def json_schema_of(schema: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of the API's own kind of schema: types in lower case, `nullable` as a type."""
    converted: dict[str, Any] = _converted(schema, _to_json_schema)
    return converted


def _acceptable(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in schema.items() if name not in _REFUSED}
    if "const" in kept:
        kept["enum"] = [kept.pop("const")]
    return kept


def accepted_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema as the API takes it: no annotations that it does not know, `const` as an enum."""
    accepted: dict[str, Any] = _converted(schema, _acceptable)
    return accepted
