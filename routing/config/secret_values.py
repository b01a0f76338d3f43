"""Secrets of a configuration: where they stand, what they refer to, and what they are.

In the file a secret is `env:NAME`, `file:/path`, a literal, or `stored:PLACE`: what the database
holds for exactly that place. PLACE is `PROVIDER/CREDENTIAL`, `TENANT/PROVIDER/CREDENTIAL`,
`TENANT/hmac/SIGNER`, `TENANT/webhooks/URL` or, of the gateway, `webhooks/URL`.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routing.config.normal import Plain
from routing.config.problems import Problem, join

STORED = "stored:"
LARGEST_FILE = 65_536
LONGEST_REFERENCE = 300


@dataclass(frozen=True)
class Secret:
    """A secret in a configuration. `reference` is empty for a literal; `value` is empty while an
    `env:` or `file:` has nothing, and None when the database's own can not be read."""

    reference: str
    value: str | None = field(repr=False)


@dataclass(frozen=True)
class Place:
    """Where one secret stands: in the mapping `holder`, at the YAML path `path`."""

    holder: Plain
    path: str
    name: str

    @property
    def stored(self) -> str:
        return STORED + self.name

    @property
    def is_reference(self) -> bool:
        """Whether a file's text stands here for a secret and is none."""
        text: str = self.holder["secret"]
        return text.startswith((STORED, *SOURCES))


def places(configuration: Plain) -> Iterator[Place]:
    """Every secret of a configuration in the listed form."""
    yield from _credentials(configuration, "", "")
    yield from _items(configuration.get("gateway", {}), "gateway", "", "webhooks", "url")
    for tenant, entry in configuration.get("tenants", {}).items():
        path = join("tenants", tenant)
        yield from _credentials(entry, path, f"{tenant}/")
        for kind, identity in (("hmac", "name"), ("webhooks", "url")):
            yield from _items(entry, path, f"{tenant}/", kind, identity)


def _items(owner: Plain, path: str, prefix: str, kind: str, identity: str) -> Iterator[Place]:
    for index, item in enumerate(owner.get(kind, [])):
        if "secret" in item:
            where = join(path, kind, index, "secret")
            yield Place(item, where, f"{prefix}{kind}/{item[identity]}")


def _credentials(owner: Plain, path: str, prefix: str) -> Iterator[Place]:
    for provider, entry in owner.get("providers", {}).items():
        for index, credential in enumerate(entry.get("credentials", [])):
            where = join(path, "providers", provider, "credentials", index, "secret")
            yield Place(credential, where, f"{prefix}{provider}/{credential['name']}")


class Unresolved(Exception):
    """A reference with nothing behind it; the message says why."""


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise Unresolved(f"the environment variable {name} is not set")
    return value


def _from_file(path: str) -> str:
    try:
        if not Path(path).is_file():  # a pipe or a terminal would be waited for, with locks held
            raise Unresolved(f"the file {path} is not there, or no file")
        with Path(path).open("rb") as file:
            value = file.read(LARGEST_FILE + 1).decode().strip()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "not text"
        raise Unresolved(f"the file {path} cannot be read: {said}") from None
    if not 0 < len(value) <= LARGEST_FILE:
        raise Unresolved(f"the file {path} is empty or no secret at all")
    return value


SOURCES: dict[str, Callable[[str], str]] = {"env:": _from_environment, "file:": _from_file}


_GATEWAYS_OWN = re.compile(r"env:(?:GATEWAY_|DJANGO_|(?:DATABASE|REDIS)_URL$)")


def beyond_drafts(wanted: Plain, stored: dict[str, Secret]) -> list[Problem]:
    """References that only an operator may make: to files, and to the gateway's own settings. Who
    writes a draft in a browser could send what they hold to an upstream of his own. What stands in
    its place already may stay. `wanted` is in the listed form, with secrets."""
    problems = []
    for place in places(wanted):
        reference, held = place.holder["secret"].reference, stored.get(place.name)
        if held is not None and held.reference == reference:
            continue
        if reference.startswith("file:"):
            said = "a draft names no file that is not in force here already; apply_config may"
        elif _GATEWAYS_OWN.match(reference):
            said = "a draft names no setting of the gateway itself; apply_config may"
        else:
            continue
        problems.append(Problem(place.path, said))
    return problems


def resolve(
    wanted: Plain, stored: dict[str, Secret], *, keeps: bool = False
) -> tuple[list[Problem], list[str]]:
    """Puts a Secret in each place of a listed configuration. Returns problems and warnings.

    `stored` holds what the database has, by the place's name. With `keeps` it stands also where a
    reference stays as it is and leads nowhere in this process.
    """
    problems: list[Problem] = []
    warnings: list[str] = []
    for place in places(wanted):
        try:
            held = stored.get(place.name)
            secret, warning = _resolved(place, place.holder["secret"], held)
            if keeps and held and not secret.value and secret.reference == held.reference:
                secret, warning = held, "" if held.value else warning
        except ValueError as error:
            problems.append(Problem(place.path, str(error)))
            continue
        place.holder["secret"] = secret
        if warning:
            warnings.append(f"{place.path}: {warning}")
    return problems, warnings


def _resolved(place: Place, text: str, stored: Secret | None) -> tuple[Secret, str]:
    if text.startswith(STORED):
        if text != place.stored:
            raise ValueError(f"only '{place.stored}' can be kept here")
        if stored is None or (stored.reference and stored.value == ""):
            raise ValueError("nothing is stored here to keep")
        return stored, "" if stored.value else "what is stored here is empty or cannot be read"
    for scheme, read in SOURCES.items():
        if text.startswith(scheme):
            if text == scheme:
                raise ValueError(f"'{scheme}' needs a name behind it")
            if len(text) > LONGEST_REFERENCE:
                raise ValueError(f"a reference has at most {LONGEST_REFERENCE} characters")
            try:
                return Secret(text, read(text.removeprefix(scheme))), ""
            except Unresolved as error:
                return Secret(text, ""), f"{error}; it is out of use until it is there"
    return Secret("", text), ""


def by_place(configuration: Plain) -> dict[str, Secret]:
    """What the database has, by the place's name."""
    return {place.name: place.holder["secret"] for place in places(configuration)}


def as_text(configuration: Plain) -> None:
    """Replaces each Secret of a listed configuration by what a file says for it."""
    for place in places(configuration):
        secret: Any = place.holder["secret"]
        place.holder["secret"] = secret.reference or place.stored


def stored_secrets(configuration: Plain) -> set[str]:
    """`stored:PLACE` of each secret that only the database has; of a file's listed form."""
    return {
        place.stored for place in places(configuration) if place.holder["secret"] == place.stored
    }
