"""The configuration file: `apply` makes the database match it, `export` is the reverse.

A file goes text -> yaml_text -> schema -> normal form; the database goes read -> normal form; the
two are merged and compared, and write changes what differs.
"""

from routing.config.applying import Outcome, apply, export, stored
from routing.config.in_force import not_in_force
from routing.config.problems import ConfigInvalid, Problem

__all__ = ["ConfigInvalid", "Outcome", "Problem", "apply", "export", "not_in_force", "stored"]
