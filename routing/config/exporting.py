"""The database as a configuration file."""

from copy import deepcopy

from pydantic import ValidationError

from routing.config import normal, secret_values
from routing.config.normal import Plain
from routing.config.read import read
from routing.config.schema import Document
from routing.config.yaml_text import dump


def export() -> str:
    """The database as a YAML file; applying it changes nothing. Secrets are references."""
    return text_of(stored())


def text_of(configuration: Plain) -> str:
    """A listed form, as `export` writes it."""
    try:
        shown = Document.model_validate(configuration).model_dump(exclude_defaults=True)
    except ValidationError:
        # Somebody wrote what the schema does not know; the file shows it, and applying names it.
        shown = configuration
    sections = {section: entry for section, entry in shown.items() if entry}
    return dump({"version": 1, **sections})


def as_file(keyed: Plain) -> Plain:
    """A keyed form with secrets, in the listed form, secrets as the file writes them."""
    configuration = deepcopy(normal.unkeyed(keyed))
    secret_values.as_text(configuration)
    return configuration


def stored() -> Plain:
    """The database in the listed form, secrets as the file writes them."""
    configuration = read()
    secret_values.as_text(configuration)
    return configuration
