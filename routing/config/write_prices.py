"""Price books. A version is never edited: other prices for its date are a new revision, and the one
before is withdrawn; usage records go on naming it."""

from datetime import UTC, datetime
from decimal import Decimal

from django.db.models import Max
from django.utils import timezone

from billing.models import Price, PriceBook, PriceVersion, UsageRecord
from gateway_project.units import parse_percent
from routing.config.normal import Plain
from routing.config.problems import Problem, join
from routing.config.rows import changed, gone, put, values_of

DEFAULT_CURRENCY = PriceBook._meta.get_field("currency").get_default()
_BUCKETS = ("input", "cached_input", "cache_write", "output", "reasoning", "per_request")


def frozen(stored: Plain, target: Plain) -> list[Problem]:
    """What old records were priced by does not change under them: the currency and the base of a
    book that usage records name."""
    problems = []
    rows = {row.name: row for row in PriceBook.objects.select_related("based_on")}
    for name, entry in changed(stored, target, "price_books"):
        fields = _rewritten(rows[name], entry) if name in rows else []
        if fields and _is_in_use(name):
            said = "usage records were priced by it; take a new price book"
            problems += [Problem(join("price_books", name, field), said) for field in fields]
    return problems


def _rewritten(row: PriceBook, entry: Plain) -> list[str]:
    base = row.based_on.name if row.based_on else None
    before = {"currency": row.currency, "based_on": base}
    after = {"currency": entry.get("currency", DEFAULT_CURRENCY), "based_on": entry.get("based_on")}
    return [field for field, value in before.items() if after[field] != value]


def _is_in_use(book: str) -> bool:
    label = f"{book}@"
    charged = UsageRecord.objects.filter(charge_price_version__startswith=label)
    return (
        charged.exists()
        or UsageRecord.objects.filter(cost_price_version__startswith=label).exists()
    )


def write(stored: Plain, target: Plain) -> None:
    books = list(changed(stored, target, "price_books"))
    for name, entry in books:
        values = values_of(PriceBook, entry, "currency", "fallback")
        put(PriceBook, {"name": name}, {**values, "withdrawn_at": None})
    keys = dict(PriceBook.objects.values_list("name", "pk"))
    for name, entry in books:
        base = keys[entry["based_on"]] if "based_on" in entry else None
        PriceBook.objects.filter(pk=keys[name]).update(based_on=base)
        before = stored["price_books"].get(name, {})
        for effective, version in changed(before, entry, "versions"):
            _revise(keys[name], _moment(effective), version)


def remove(stored: Plain, target: Plain) -> None:
    for name in stored["price_books"]:
        for effective in gone(
            stored["price_books"][name], target["price_books"].get(name, {}), "versions"
        ):
            _withdraw(PriceBook.objects.get(name=name).pk, _moment(effective))
    books = PriceBook.objects.filter(name__in=gone(stored, target, "price_books"))
    books.update(withdrawn_at=timezone.now())


def _revise(book: int, effective: datetime, entry: Plain) -> None:
    same_date = PriceVersion.objects.filter(book_id=book, effective=effective)
    latest = same_date.aggregate(latest=Max("revision"))["latest"] or 0
    _withdraw(book, effective)
    markup = parse_percent(entry["markup"]) if "markup" in entry else None
    version = PriceVersion(book_id=book, effective=effective, revision=latest + 1, markup=markup)
    PriceVersion.objects.bulk_create([version])
    Price.objects.bulk_create(
        Price(
            version=version,
            model=model,
            **{bucket: Decimal(price[bucket]) for bucket in _BUCKETS if bucket in price},
        )
        for model, price in entry.get("prices", {}).items()
    )


def _withdraw(book: int, effective: datetime) -> None:
    standing = PriceVersion.objects.filter(book_id=book, effective=effective, withdrawn_at=None)
    standing.update(withdrawn_at=timezone.now())


def _moment(effective: str) -> datetime:
    moment = datetime.fromisoformat(effective)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
