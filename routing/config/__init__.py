"""The configuration file: `apply` makes the database match it, `export` is the reverse.

A file goes text -> yaml_text -> schema -> normal form; the database goes read -> normal form; the
two are merged and compared, and write changes what differs.
"""

from routing.config.applying import (
    ConfigMoved,
    Outcome,
    apply,
    check_references_only,
    tried,
)
from routing.config.exporting import export, stored
from routing.config.in_force import not_in_force
from routing.config.problems import ConfigInvalid, Problem
from routing.config.recording import digest, in_force

__all__ = [
    "ConfigInvalid",
    "ConfigMoved",
    "Outcome",
    "Problem",
    "apply",
    "check_references_only",
    "digest",
    "export",
    "in_force",
    "not_in_force",
    "stored",
    "tried",
]
