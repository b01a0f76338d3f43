"""Issuers of two tenants that nothing would tell apart: a token of theirs would be nobody's."""

from collections.abc import Iterator
from typing import Any

import orjson

from routing.config.normal import Plain
from routing.config.problems import Problem, join


def colliding(configuration: Plain) -> Iterator[Problem]:
    """A problem for each issuer of a listed configuration that another tenant has too, with the
    same audience and the same keys."""
    owners: dict[bytes, str] = {}
    for tenant, entry in configuration.get("tenants", {}).items():
        for index, issuer in enumerate(entry.get("issuers", [])):
            owner = owners.setdefault(_identity(issuer), tenant)
            if owner != tenant:
                said = f"the tenant '{owner}' has it too, with the same audience and keys: nothing "
                said += "would tell their tokens apart"
                yield Problem(join("tenants", tenant, "issuers", index, "issuer"), said)


def _identity(issuer: Plain) -> bytes:
    fields: list[Any] = [
        issuer.get(name) for name in ("issuer", "audience", "jwks_url", "jwks", "public_key")
    ]
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
