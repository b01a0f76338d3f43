"""Moments and spans of time, as commands read and print them. Everything is UTC."""

import argparse
import datetime


def parse_moment(text: str) -> datetime.datetime:
    """A UTC day (`2026-10-01`, its midnight) or time (`2026-10-01T12:00:00Z`). Raises ValueError.

    A time without an offset is UTC; one with another offset is converted.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=datetime.UTC)
        return moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a day like 2026-10-01 nor a time like 2026-10-01T12:00:00Z"
        ) from None


def moment(text: str) -> datetime.datetime:
    """`parse_moment` on a command line. argparse shows the message with the option's name."""
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def format_moment(moment: datetime.datetime) -> str:
    """ISO 8601 in UTC with `Z`; microseconds only where there are some."""
    return moment.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
