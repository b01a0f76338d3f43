"""What a name in configuration may look like."""

from django.core.validators import RegexValidator
from django.db import models

SLUG_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}\Z"

valid_slug = RegexValidator(
    SLUG_PATTERN, "A name is 1-64 of a-z, 0-9, '.', '_' and '-', and starts with a letter or digit."
)


class SlugName(models.CharField):
    """A name that callers, configuration and records use; it never changes."""

    def __init__(self, **options: object) -> None:
        options.setdefault("max_length", 64)
        options.setdefault("validators", [valid_slug])
        super().__init__(**options)  # type: ignore[arg-type]


def slug_constraint(field: str, name: str) -> models.CheckConstraint:
    """The same rule, held by the database."""
    return models.CheckConstraint(
        condition=models.Q(**{f"{field}__regex": SLUG_PATTERN.replace(r"\Z", "$")}), name=name
    )
