"""The benchmark: this gateway beside a bare pipe and its peers, on one core each. See README.md."""


class Failure(Exception):
    """A measurement that did not come about; the message says why, and no figure is reported."""
