"""Rows of the database from and to the plain fragments of a configuration."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from django.db.models import ExpressionWrapper, F, Model, QuerySet, TextField
from pydantic import TypeAdapter, ValidationError

from routing.config.normal import Plain
from routing.config.secret_values import STORED, Secret
from routing.secrets import SecretUnreadable, decrypt

Row = TypeVar("Row", bound=Model)


@functools.cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def normalise(shape: Any, raw: Plain) -> Plain:
    """A fragment in the listed form. One that the schema does not know, because somebody wrote it
    into a JSON column, stays as it is: applying a file mends it, and an export shows it."""
    given = _in_order({field: value for field, value in raw.items() if value is not None})
    try:
        value = _adapter(shape).validate_python(given)
    except ValidationError:
        return cast("Plain", given)
    fragment = _adapter(shape).dump_python(value, mode="json", exclude_defaults=True)
    return cast("Plain", fragment)


def _in_order(value: Any) -> Any:
    """The same with its mappings by key: PostgreSQL keeps theirs in an order of its own."""
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def by_name(rows: Iterable[Any], fragment: Callable[[Any], Plain]) -> Plain:
    """A mapping of the file, in the order of names, which no two databases sort alike."""
    return {row.name: fragment(row) for row in sorted(rows, key=lambda row: row.name)}


def columns(row: Model, *names: str) -> Plain:
    """The columns of these names that say something."""
    values = {name: getattr(row, name) for name in names}
    return {name: value for name, value in values.items() if value is not None and value != ""}


def with_sealed_secret(rows: QuerySet[Row]) -> QuerySet[Row]:
    """Rows whose secret the query does not open: it would fail on the first unreadable one."""
    sealed = ExpressionWrapper(F("secret"), output_field=TextField())
    return cast("QuerySet[Row]", rows.defer("secret").annotate(sealed=sealed))


def secret_of(row: Any) -> Secret:
    try:
        return Secret(row.secret_reference, decrypt(row.sealed) if row.sealed else "")
    except SecretUnreadable:
        return Secret(row.secret_reference, None)


def normalise_with_secret(shape: Any, raw: Plain, secret: Secret) -> Plain:
    """As `normalise`; the secret itself never goes through the schema."""
    return {**normalise(shape, {**raw, "secret": STORED}), "secret": secret}


def put(model: type[Model], where: Plain, values: Plain) -> Any:
    """Makes one row match, without the signals of a save. Returns its primary key."""
    manager = model._default_manager
    key = manager.filter(**where).order_by().values_list("pk", flat=True).first()
    if key is None:
        return manager.bulk_create([model(**where, **values)])[0].pk
    if values:
        manager.filter(pk=key).update(**values)
    return key


def values_of(model: type[Model], entry: Plain, *names: str) -> Plain:
    """What a fragment says for these columns; what it leaves out goes to the column's default."""
    defaults = {name: model._meta.get_field(name).get_default() for name in names}  # type: ignore[union-attr]
    return {name: entry.get(name, default) for name, default in defaults.items()}


def changed(stored: Plain, target: Plain, field: str) -> Iterator[tuple[str, Plain]]:
    """The entries of a mapping that are new or differ."""
    before = stored.get(field, {})
    for name, entry in target.get(field, {}).items():
        if name not in before or before[name] != entry:
            yield name, entry


def gone(stored: Plain, target: Plain, field: str) -> list[str]:
    """The names in a mapping that the target lacks."""
    return [name for name in stored.get(field, {}) if name not in target.get(field, {})]


def secret_columns(secret: Secret | None, stored: Secret | None) -> Plain:
    """What to write for a secret: nothing when it is what is stored."""
    if secret == stored:
        return {}
    if secret is None:
        return {"secret": "", "secret_reference": ""}
    return {"secret": secret.value, "secret_reference": secret.reference}
