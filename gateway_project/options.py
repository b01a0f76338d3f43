"""Argument types that several commands share."""

import argparse
import datetime

from gateway_project.units import parse_duration


def duration(text: str) -> datetime.timedelta:
    """`30d` on a command line. argparse shows the message with the option's name."""
    try:
        return datetime.timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
