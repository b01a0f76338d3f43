"""What `--prune` may not remove: tenants and projects with issued keys or records, and whatever
those need. Such a tenant stays as it is, suspended: none of its credentials works any more, and
its books can still be closed."""

from billing.models import UsageRecord
from routing.config.normal import Plain, unkeyed
from routing.config.problems import join
from routing.config.references import SECTION, Reference, references
from tenants.models import Key


def keep_what_must_stay(stored: Plain, target: Plain) -> tuple[Plain, list[str]]:
    """Puts back into the target what may not go. Returns what that is, and a warning for each;
    all in the keyed form."""
    kept: Plain = {"tenants": {}}
    warnings = []
    for name, tenant in stored["tenants"].items():
        path = join("tenants", name)
        if name in target["tenants"]:
            if projects := _projects_to_keep(name, tenant, target["tenants"][name]):
                target["tenants"][name].setdefault("projects", {}).update(projects)
                kept["tenants"][name] = {"projects": projects}
            warnings += [f"{path}.projects.{one}: kept: it has issued keys" for one in projects]
        elif reason := _why_tenant_stays(name):
            target["tenants"][name] = kept["tenants"][name] = {**tenant, "status": "suspended"}
            warnings.append(f"{path}: kept, but suspended: it has {reason}")
    return kept, warnings + _keep_needed(stored, target, kept)


def _why_tenant_stays(name: str) -> str:
    found = {
        "issued keys": Key.objects.filter(tenant__name=name).exists(),
        "usage records": UsageRecord.objects.filter(tenant=name).exists(),
    }
    return " and ".join(what for what, there in found.items() if there)


def _projects_to_keep(name: str, stored: Plain, target: Plain) -> Plain:
    going = [one for one in stored.get("projects", {}) if one not in target.get("projects", {})]
    used = Key.objects.filter(tenant__name=name, project__name__in=going)
    names = set(used.values_list("project__name", flat=True)) if going else set()
    return {one: stored["projects"][one] for one in going if one in names}


def _keep_needed(stored: Plain, target: Plain, kept: Plain) -> list[str]:
    """A kept thing keeps what it names, and that what it names in turn: but no alias, which would
    stay open to everybody."""
    warnings = []
    while lost := _first_lost(stored, target, kept):
        section = SECTION[lost.kind]
        thing = stored[section][lost.name]
        target[section][lost.name] = thing
        kept.setdefault(section, {})[lost.name] = thing
        warnings.append(f"{join(section, lost.name)}: kept: {lost.path} names it")
    return warnings


def _first_lost(stored: Plain, target: Plain, kept: Plain) -> Reference | None:
    for reference in references(unkeyed(kept)):
        if reference.kind == "alias" or not reference.dangles(target):
            continue
        if reference.name in stored.get(SECTION.get(reference.kind, ""), {}):
            return reference
    return None
