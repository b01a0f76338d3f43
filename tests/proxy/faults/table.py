"""The table: one row a fault. To add one, add a row.

A row says what providers do and of which error kind that is; `KINDS` (fault.py) says what follows
from a kind: what the caller is told, what the breaker counts it against, where a fallback answers.
"""

from collections.abc import Mapping

from tests.fake_upstream import DONE, cut_in_head, failing, silent, stream, whole, words
from tests.proxy.faults import scripts
from tests.proxy.faults.fault import ANY, Fault
from tests.proxy.faults.scripts import Play, Variant, always, answering, saying
from tests.proxy.faults.speech import OPENAI, SPEECHES, Speech


def _by_openai(*plays: Play) -> tuple[Variant, ...]:
    return tuple(Variant(f"way {n}", "openai", play) for n, play in enumerate(plays, start=1))


def _status(status: int, kind: str, **fields: object) -> Fault:
    says = b'{"error": {"message": "It failed.", "type": "t", "param": null, "code": null}}'
    variant = Variant(str(status), "openai", always(whole(says, status=status)), says)
    return Fault(str(status), kind, (variant,), noted=status, **fields)  # type: ignore[arg-type]


def _error_event(kind: str, *, after_content: bool) -> Fault:
    """The events of a kind, in the dialects that can say it."""

    def make(speech: Speech) -> tuple[Play, bytes] | None:
        if speech.error_kind != kind:
            return None
        before = speech.frames[: len(speech.opening) + 2 * after_content]
        gate = len(before) if after_content else 0
        return saying(speech, [*before, speech.error_event], gate=gate), speech.error_event

    return Fault(
        f"an error event {'after' if after_content else 'before'} content: {kind}",
        kind,
        scripts.in_every_dialect(make),
        noted=ANY,
        modes=("streamed",),
        after_content=after_content,
    )


def _content(speech: Speech) -> int:
    """The number of frames until the last that leaves the answer unfinished."""
    return len(speech.opening) + len(speech.content) + speech.reason


NO_BODY = whole(b"")
HTML = whole(b"<html><body>Welcome</body></html>", content_type="text/html")

CONNECTIONS = (
    Fault("connection refused", "connection", _by_openai(always(silent)), place="nobody"),
    Fault(
        "reset or closed before the head",
        "connection",
        _by_openai(always(lambda wire: wire.cut("rst")), always(lambda wire: wire.cut("fin"))),
    ),
    Fault(
        "reset or closed in the head",
        "connection",
        _by_openai(always(cut_in_head("rst")), always(cut_in_head("fin"))),
    ),
    Fault(
        "reset or closed in a whole body",
        "connection",
        _by_openai(always(scripts.cut_in_body("rst")), always(scripts.cut_in_body("fin"))),
        modes=("whole",),
    ),
    Fault("certificate not trusted", "connection", _by_openai(always(silent)), place="untrusted"),
    Fault("plain HTTP for `https`", "connection", _by_openai(always(silent)), place="no TLS"),
    Fault("TLS for `http`", "connection", _by_openai(always(silent)), place="only TLS"),
)

TIMES = (
    Fault(
        "nobody accepts the connection",
        "timeout",
        _by_openai(always(silent)),
        place="unreachable",
        timeouts={"connect": "300ms"},
        says="connect",
    ),
    Fault(
        "no first byte",
        "timeout",
        _by_openai(always(silent)),
        timeouts={"first_byte": "300ms"},
        says="first byte",
    ),
    Fault(
        "stalls before content",
        "timeout",
        _by_openai(saying(OPENAI, OPENAI.opening, ends="never"), saying(OPENAI, [], ends="never")),
        modes=("streamed",),
        timeouts={"idle": "300ms"},
        says="idle",
    ),
    Fault(
        "stalls after content",
        "timeout",
        _by_openai(saying(OPENAI, OPENAI.frames[:3], ends="never")),
        modes=("streamed",),
        after_content=True,
        timeouts={"idle": "300ms"},
        says="idle",
    ),
    Fault(
        "comments for ever",
        "timeout",
        _by_openai(always(stream([b": ping\n\n"] * 200, pace=0.05))),
        modes=("streamed",),
        timeouts={"total": "400ms"},
        says="total",
    ),
    Fault(
        "content for ever",
        "timeout",
        _by_openai(always(stream(words(200), pace=0.05))),
        modes=("streamed",),
        after_content=True,
        timeouts={"total": "1500ms"},
        says="total",
        breaks="",
    ),
    Fault(
        "slow, and within its time",
        "",
        _by_openai(answering(OPENAI, after=0.2)),
        timeouts={"first_byte": "3s"},
    ),
)

STATUSES = (
    _status(400, "invalid_request"),
    _status(401, "auth"),
    _status(403, "auth"),
    _status(404, "not_found"),
    _status(408, "timeout"),
    _status(409, "server_error"),
    _status(413, "invalid_request"),
    _status(422, "invalid_request"),
    _status(429, "rate_limit"),
    Fault(
        "429 with `Retry-After`",
        "rate_limit",
        _by_openai(always(failing(429, retry_after="17"))),
        noted=429,
        retry_after=range(17, 18),
    ),
    Fault(
        "429 with a date",
        "rate_limit",
        _by_openai(always(scripts.in_half_a_minute)),
        noted=429,
        retry_after=range(27, 32),
    ),
    *(_status(status, "server_error") for status in (500, 502, 504)),
    *(_status(status, "overloaded") for status in (503, 529)),
    Fault(
        "503 with `Retry-After`",
        "overloaded",
        _by_openai(always(failing(503, retry_after="9"))),
        noted=503,
        retry_after=range(9, 10),
    ),
    Fault(
        "an HTML page with a 502",
        "server_error",
        _by_openai(always(whole(b"<html>Bad</html>", status=502, content_type="text/html"))),
        noted=502,
    ),
    Fault("204", "server_error", _by_openai(always(whole(b"", status=204))), noted=204),
    Fault(
        "a redirect, which is not followed",
        "server_error",
        _by_openai(
            *(
                always(whole(b"", status=status, headers={"location": "http://127.0.0.1:1/"}))
                for status in (301, 302, 307, 308)
            )
        ),
        noted=ANY,
    ),
    Fault(
        "100 and 103 before the answer",
        "",
        _by_openai(scripts.after_early_heads(100, 103), scripts.after_early_heads(103)),
    ),
    Fault("101", "server_error", _by_openai(always(scripts.switching))),
)

BODIES = (
    Fault("HTML in a 200", "server_error", _by_openai(always(HTML)), noted=200),
    Fault(
        "nothing, `null`, another JSON or half of one in a 200",
        "server_error",
        _by_openai(
            *(
                always(whole(body))
                for body in (b"", b"null", b'{"object": "list", "data": []}', b'{"id": "cut off')
            )
        ),
        noted=200,
    ),
    Fault("gzip, which was not asked for", "", _by_openai(answering(OPENAI, gzipped=True))),
    Fault(
        "an encoding that nobody reads, or that is none",
        "server_error",
        _by_openai(
            always(whole(OPENAI.whole, headers={"content-encoding": "br"})),
            always(whole(OPENAI.whole, headers={"content-encoding": "gzip"})),
        ),
    ),
    Fault(
        "a whole answer as `text/plain`",
        "",
        _by_openai(always(whole(OPENAI.whole, content_type="text/plain"))),
        modes=("whole",),
    ),
    Fault(
        "a whole answer where a stream was asked for",
        "",
        scripts.in_every_dialect(lambda speech: (always(whole(speech.whole)), b"")),
        modes=("streamed",),
    ),
    Fault(
        "a stream where a whole answer was asked for",
        "",
        scripts.in_every_dialect(
            lambda speech: (always(stream(speech.frames, content_type=speech.content_type)), b"")
        ),
        modes=("whole",),
    ),
    Fault(
        "a stream as `text/plain`",
        "server_error",
        _by_openai(always(stream(OPENAI.frames, content_type="text/plain"))),
        noted=200,
        modes=("streamed",),
    ),
    Fault("an endless head", "server_error", _by_openai(always(scripts.endless_head))),
    Fault(
        "no HTTP",
        "server_error",
        _by_openai(always(lambda wire: wire.raw(b"nonsense\r\n\r\n"))),
    ),
    Fault(
        "a body over 64 MB, endless or not",
        "server_error",
        _by_openai(always(scripts.endless_body), always(scripts.over_the_bound)),
        modes=("whole",),
        in_one_run=True,
    ),
    Fault(
        "an endless event, or a megabyte before any content",
        "server_error",
        _by_openai(always(scripts.endless_event), always(scripts.endless_comments)),
        modes=("streamed",),
        in_one_run=True,
    ),
    Fault(
        "events that cannot be read",
        "connection",
        _by_openai(
            always(stream([b"data: not json\n\n", b"nonsense\n\n"])), always(stream([DONE]))
        ),
        modes=("streamed",),
    ),
    Fault(
        "an event among others that cannot be read",
        "",
        _by_openai(
            saying(OPENAI, [*OPENAI.frames[:3], b"data: {not json\n\n", *OPENAI.frames[3:]])
        ),
        modes=("streamed",),
    ),
)

STREAMS = (
    Fault(
        "cut before content, at each event",
        "connection",
        scripts.cuts(lambda speech: 0, lambda speech: len(speech.opening)),
        modes=("streamed",),
    ),
    Fault(
        "cut after content, at each event",
        "connection",
        scripts.cuts(lambda speech: len(speech.opening) + 1, _content),
        modes=("streamed",),
        after_content=True,
    ),
    Fault(
        "cut in the middle of an event",
        "connection",
        tuple(
            Variant(
                f"{dialect}, {ends}",
                dialect,
                saying(
                    speech,
                    [*speech.frames[: len(speech.opening) + 1], speech.content[1][:20]],
                    ends=ends,
                    gate=len(speech.opening) + 1,
                ),
            )
            for dialect, speech in SPEECHES.items()
            for ends in scripts.CUTS
        ),
        modes=("streamed",),
        after_content=True,
    ),
    Fault(
        "ends cleanly without its end mark, its reason given",
        "",
        tuple(
            Variant(dialect, dialect, saying(speech, speech.frames[: _content(speech) + 1]))
            for dialect, speech in SPEECHES.items()
        ),
        modes=("streamed",),
    ),
    Fault(
        "stays open, or is cut, after its end mark",
        "",
        tuple(
            Variant(f"{dialect}, {ends}", dialect, saying(speech, speech.frames, ends=ends))
            for dialect, speech in SPEECHES.items()
            if dialect != "gemini"  # which has none
            for ends in ("never", "fin", "rst")
        ),
        modes=("streamed",),
        timeouts={"idle": "1s"},
    ),
)

ERRORS = (
    Fault(
        "an error object as the body of a 200",
        "overloaded",
        _by_openai(always(whole({"error": {"message": "Overloaded", "code": 503}}))),
        noted=503,
    ),
    *(
        _error_event(kind, after_content=after)
        for after in (False, True)
        for kind in ("overloaded", "server_error")
    ),
)

REFUSALS = (
    Fault(
        "longer than the context window",
        "context_window",
        scripts.in_every_dialect(
            lambda speech: (scripts.refusing(*speech.too_long), speech.too_long[1])
        ),
        noted=400,
    ),
    Fault(
        "refused by the provider's content filter",
        "content_filter",
        scripts.in_every_dialect(
            lambda speech: (
                (scripts.refusing(*speech.filtered), speech.filtered[1])
                if speech.filtered
                else None
            )
        ),
        noted=400,
    ),
)

GROUPS: Mapping[str, tuple[Fault, ...]] = {
    "Connections": CONNECTIONS,
    "Time": TIMES,
    "Statuses": STATUSES,
    "Bodies": BODIES,
    "Streams": STREAMS,
    "Errors inside a 200": ERRORS,
    "Refusals": REFUSALS,
}
