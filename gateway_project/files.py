"""Files that are named on a command line."""

import sys
from pathlib import Path

from django.core.management.base import CommandError


def text_of(source: str) -> str:
    """What a file holds, or with `-` standard input. Raises CommandError."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{source}: the file is not UTF-8") from None
