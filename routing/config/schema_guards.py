"""`guards:` checks and rewrites of input and output, a shape for each kind."""

from typing import Annotated, Literal

from pydantic import Field

from routing.config.fields import Fraction, JsonObject, Regex, Shape, SomeTime, Url, once

Stage = Literal["input", "output", "both"]
OnError = Literal["block", "allow"]


class PiiGuard(Shape):
    """Without `entities` it looks for all of them."""

    kind: Literal["pii"]
    stage: Stage = "both"
    entities: Annotated[
        list[Literal["email", "phone", "credit_card", "iban", "us_ssn", "ip_address"]],
        Field(min_length=1),
        once(),
    ] = ["email", "phone", "credit_card", "iban", "us_ssn", "ip_address"]
    action: Literal["mask", "block"] = "mask"
    on_error: OnError = "block"


class PromptInjectionGuard(Shape):
    kind: Literal["prompt_injection"]
    stage: Literal["input"] = "input"
    action: Literal["block"] = "block"
    threshold: Fraction | None = None
    on_error: OnError = "block"


class PatternGuard(Shape):
    kind: Literal["pattern"]
    stage: Stage = "both"
    patterns: Annotated[list[Regex], Field(min_length=1)]
    action: Literal["mask", "block"] = "block"
    on_error: OnError = "block"


class JsonSchemaGuard(Shape):
    kind: Literal["json_schema"]
    stage: Literal["output"] = "output"
    action: Literal["block"] = "block"
    json_schema: JsonObject = Field(alias="schema")
    on_error: OnError = "block"


class PythonGuard(Shape):
    kind: Literal["python"]
    stage: Stage = "both"
    dotted_class: Annotated[
        str, Field(alias="class", max_length=300, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    ]
    on_error: OnError = "block"


class HttpGuard(Shape):
    kind: Literal["http"]
    stage: Stage = "both"
    url: Url
    timeout: SomeTime | None = None
    on_error: OnError = "block"


Guard = Annotated[
    PiiGuard | PromptInjectionGuard | PatternGuard | JsonSchemaGuard | PythonGuard | HttpGuard,
    Field(discriminator="kind"),
]
