"""Cues: what a subtitle shows at once, for how long. Pure functions, one pass, flat memory.

Where to break follows the guides of broadcasters (BBC Subtitle Guidelines; Netflix Timed Text
Style Guide): at the end of a sentence, then of a clause, then before a conjunction, else so that
cues and lines are of like length. The best breaks of a segment are found together by dynamic
programming, as in Knuth and Plass, *Breaking Paragraphs into Lines* (1981), and not cue by cue.

A cue never crosses a segment. It begins with its first word; it ends with its last, or later
where silence follows and reading takes longer. Times are whole milliseconds, as subtitle files
hold them, so rounding cannot make two cues overlap.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from msgspec.structs import replace

from hansard.formats.layout import STANDARD, Layout
from hansard.formats.pieces import Piece, split, width
from hansard.formats.wording import clean, milliseconds
from hansard.model import Segment, Value

GAP_MS = 84
"""Two frames at 24 a second, the slowest common rate. Cues that touch look like one cue."""
SHORTEST_MS = 1000
"""A cue stays at least this long where there is room."""
READING_SPEED = 17.0
"""Columns a second that most viewers can read (Netflix: 17 for adult programmes)."""

_SENTENCE_END = tuple(".?!…。！？؟۔।")  # noqa: RUF001 these very marks end sentences
_CLAUSE_END = tuple(",;:،؛、，；：—–")  # noqa: RUF001 these very marks end clauses
_CLOSING = "\"'”’»)]}」』）】》"  # noqa: RUF001 these very marks close what was opened
_TITLES = frozenset(
    {"mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "sr.", "jr.", "rev.", "hon.", "no."}
)
_CONJUNCTIONS = {
    "en": "and but or nor so yet because although though unless until while when where whether"
    " which who whom whose that if since as than",
    "de": "und aber oder denn sondern weil dass obwohl wenn als damit sodass während bevor nachdem"
    " ob falls",
    "fr": "et mais ou donc or ni car que qui dont où quand lorsque si parce puisque comme",
    "es": "y e pero o u sino porque que quien cuando donde si aunque mientras pues como",
    "it": "e ed ma o oppure perché che chi quando dove se mentre anche come quindi",
    "pt": "e mas ou porque que quem quando onde se embora enquanto pois como",
    "nl": "en maar of want omdat dat die wie wanneer waar als hoewel terwijl zodat",
}
_JOINERS = {language: frozenset(words.split()) for language, words in _CONJUNCTIONS.items()}

# What a break costs, in cues: one cue more is worth avoiding a break that costs one more.
_AT_SENTENCE, _AT_CLAUSE, _AT_CONJUNCTION, _AT_PAUSE, _ELSEWHERE = 0.0, 0.4, 0.8, 0.6, 2.0
_TOO_SHORT = 1.5
_PAUSE_KEPT = 1.5
_LONG_PAUSE = 0.8
"""Seconds of silence that a cue should not stay across."""


class Cue(Value, frozen=True):
    """What is shown at once, ``start_ms`` to ``end_ms`` of the recording.

    ``lines`` hold cleaned text, not yet escaped for any format.
    """

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    channel: int = 0
    speaker: str | None = None


def cues(
    segments: Iterable[Segment],
    layout: Layout = STANDARD,
    *,
    prefix: bool = False,
    ends_ms: int | None = None,
    language: str | None = None,
) -> Iterator[Cue]:
    """Cues of segments that come in order of their start.

    With ``prefix`` the text of a new speaker begins with ``Name:``, for formats that cannot say
    who speaks in another way; a name is shortened to one line, and a layout of one line has no
    room for names. ``ends_ms`` is the recording's length: reading time is not borrowed beyond
    it. ``language`` is that of segments that do not say theirs.

    No text is lost or moved. Every line is at most ``layout.max_line`` columns, every cue at
    most ``max_lines`` lines and ``max_seconds``. Cues come in order of their start; those of one
    channel do not overlap, and keep ``GAP_MS`` between them unless they would be shorter than
    that themselves. A cue lies in its segment's span, or ends after it in silence where reading
    takes longer. Where segments of one channel overlap, or hold more cues than milliseconds, the
    later cue waits.
    """
    waiting: dict[int, deque[Cue]] = {}
    now = 0
    prefix = prefix and layout.speakers and layout.max_lines > 1
    for segment, drafts in _drafts(segments, layout, language or "en", prefix=prefix):
        now = max(now, milliseconds(segment.start))
        queue = waiting.setdefault(segment.channel, deque())
        last = queue[-1] if queue else None
        for draft in drafts:
            last = _after(last, draft, layout)
            queue.append(last)
        yield from _ready(waiting, layout, now, ends_ms)
    yield from _ready(waiting, layout, None, ends_ms)


def _drafts(
    segments: Iterable[Segment], layout: Layout, language: str, *, prefix: bool
) -> Iterator[tuple[Segment, list[Cue]]]:
    speaking: str | None = None
    for segment in segments:
        name = clean(segment.speaker or "") if layout.speakers else ""
        pieces = split(segment, layout.max_line)
        opening: list[Piece] = []
        if prefix and name and name != speaking and pieces:
            opening = _label(name, pieces[0].start, layout)
            pieces[0] = replace(pieces[0], spaced=True)
        if pieces:
            speaking = name
        whole = opening + pieces
        costs = _break_costs(whole, (segment.language or language)[:2])
        yield (
            segment,
            [
                _draft(whole[a:b], [0.0, *costs[a + 1 : b]], segment, name, layout)
                for a, b in _break(whole, len(opening), layout, costs)
            ],
        )


def _label(name: str, at: float, layout: Layout) -> list[Piece]:
    """The pieces of ``Name:``, at most one line of them, that take no time of their own."""
    if width(name) >= layout.max_line:
        while width(name) > layout.max_line - 2:
            name = name[:-1]
        name = f"{name.rstrip()}…"
    label = split(Segment(at, at, f"{name}:"), layout.max_line)
    return [replace(piece, start=at, end=at) for piece in label]


def _draft(
    run: Sequence[Piece], costs: Sequence[float], segment: Segment, name: str, layout: Layout
) -> Cue:
    start = milliseconds(run[0].start)
    end = min(milliseconds(run[-1].end), start + int(layout.max_seconds * 1000))
    return Cue(
        start,
        max(end, start + 1),
        _lines(run, costs, layout.max_line),
        segment.channel,
        name or None,
    )


def _after(last: Cue | None, draft: Cue, layout: Layout) -> Cue:
    """The draft, begun late enough for the one before it on its channel."""
    if last is None:
        return draft
    start = draft.start_ms
    if start < last.end_ms:  # the input overlaps: let the earlier cue be read, if both can be
        start = max(start, min(last.end_ms, draft.end_ms - SHORTEST_MS))
    start = max(start, last.start_ms + 1)
    longest = start + int(layout.max_seconds * 1000)
    return Cue(
        start,
        min(max(draft.end_ms, start + 1), longest),
        draft.lines,
        draft.channel,
        draft.speaker,
    )


def _ready(
    waiting: dict[int, deque[Cue]], layout: Layout, now: int | None, ends_ms: int | None
) -> Iterator[Cue]:
    """Cues that nothing still to come can change. ``now``: later segments begin here or after."""
    while True:
        heads = [queue[0] for queue in waiting.values() if queue]
        if not heads:
            return
        cue = min(heads, key=lambda c: (c.start_ms, c.channel))
        if now is not None and cue.start_ms >= now:
            return
        queue = waiting[cue.channel]
        reading = sum(map(width, cue.lines)) / READING_SPEED * 1000
        wanted = min(
            max(cue.end_ms, cue.start_ms + SHORTEST_MS, cue.start_ms + int(reading)),
            cue.start_ms + int(layout.max_seconds * 1000),
        )
        if ends_ms is not None:
            wanted = max(cue.end_ms, min(wanted, ends_ms))
        if len(queue) > 1:
            room = queue[1].start_ms - cue.start_ms
            wanted = min(wanted, cue.start_ms + max(room - GAP_MS, room // 2, 1))
        elif now is not None and wanted + GAP_MS > now:
            return
        queue.popleft()
        if not queue:
            # An idle channel must remember its last cue only while a new one could touch it.
            del waiting[cue.channel]
        yield Cue(cue.start_ms, wanted, cue.lines, cue.channel, cue.speaker)


def _break(
    pieces: Sequence[Piece], opening: int, layout: Layout, costs: Sequence[float]
) -> list[tuple[int, int]]:
    """Cut a segment's pieces into cues at the least cost: where each begins and ends.

    The first ``opening`` pieces are a name, which stays with the text after it. One piece that
    lasts too long is a cue all the same, its name before it if it has one.
    """
    count, max_line, max_lines = len(pieces), layout.max_line, layout.max_lines
    longest = layout.max_seconds + 0.0005  # times are rounded to milliseconds
    room = max_line * max_lines
    breaks = [math.inf if 0 < i <= opening else costs[i] for i in range(count)] + [0.0]
    columns, silences = _sums(pieces)
    steps = [(piece.width, piece.spaced, piece.end) for piece in pieces]
    best = [0.0] + [math.inf] * count
    came = [0] * (count + 1)
    for begin in range(count):
        so_far = best[begin] + 1.0
        if so_far >= best[count]:
            continue  # nothing costs less than nothing: no way to the end from here is better
        heard_from, alone = pieces[begin].start, max(begin, opening)
        line, column = 1, 0
        for at in range(begin, count):
            wide, spaced, heard = steps[at]
            heard -= heard_from
            step = wide + 1 if spaced and column else wide
            if column + step > max_line:
                line, column, step = line + 1, 0, wide
            column += step
            if line > max_lines or (at > alone and heard > longest):
                break
            end = at + 1
            cost = so_far + breaks[end]
            if cost >= best[end]:
                continue  # likewise
            empty = 1.0 - (columns[end] - columns[begin]) / room
            cost += 0.5 * empty * empty
            if heard < 1.0:
                cost += _TOO_SHORT * (1.0 - heard)
            cost += _PAUSE_KEPT * min(3.0, silences[end] - silences[begin + 1])
            if cost < best[end]:
                best[end], came[end] = cost, begin
    runs: list[tuple[int, int]] = []
    end = count
    while end:
        runs.append((came[end], end))
        end = came[end]
    return runs[::-1]


def _sums(pieces: Sequence[Piece]) -> tuple[list[int], list[float]]:
    """Columns, and seconds of long silences, before each piece and behind the last."""
    columns, silences = [0], [0.0]
    ended = math.inf
    for piece in pieces:
        columns.append(columns[-1] + piece.width + piece.spaced)
        silence = piece.start - ended
        silences.append(silences[-1] + (silence if silence > _LONG_PAUSE else 0.0))
        ended = piece.end
    return columns, silences


def _break_costs(pieces: Sequence[Piece], language: str) -> list[float]:
    """What it costs to break before each piece; before the first, nothing."""
    joiners = _JOINERS.get(language, frozenset())
    costs = [0.0] * len(pieces)
    for at in range(1, len(pieces)):
        before, after = pieces[at - 1], pieces[at]
        word = before.text.rstrip(_CLOSING)
        if word.endswith(_SENTENCE_END) and word.lower() not in _TITLES:
            continue
        if word.endswith(_CLAUSE_END):
            costs[at] = _AT_CLAUSE
            continue
        cost = _AT_PAUSE if after.start - before.end > 0.3 else _ELSEWHERE
        if after.text.lower().strip(_CLOSING) in joiners:
            cost = min(cost, _AT_CONJUNCTION)
        costs[at] = cost
    return costs


_Wrapped = tuple[float, tuple[int, ...]]
"""A way to wrap the pieces so far: its cost, and where its lines end."""


def _lines(pieces: Sequence[Piece], costs: Sequence[float], max_line: int) -> tuple[str, ...]:
    """The pieces of one cue on as few lines as hold them, broken where it reads best.

    Among wraps of equally few lines: at clause ends and before conjunctions, and of like length.
    """
    count, squares = len(pieces), _squares(max_line)
    rest = _rests(pieces)
    layer: dict[int, _Wrapped] = {0: (0.0, ())}
    while count not in layer:
        if rest[max(layer)] <= max_line:
            # One line more holds the rest: how far others come does not matter.
            last = [
                (known[0] + costs[begin] + squares[rest[begin]], (*known[1], count))
                for begin, known in layer.items()
                if rest[begin] <= max_line
            ]
            layer = {count: min(last)}
        else:
            layer = _longer(pieces, costs, layer, max_line)
    ends = layer[count][1]
    return tuple(_text(pieces[a:b]) for a, b in zip((0, *ends[:-1]), ends, strict=True))


def _longer(
    pieces: Sequence[Piece], costs: Sequence[float], layer: dict[int, _Wrapped], max_line: int
) -> dict[int, _Wrapped]:
    """The best ways of one line more, to each end that so many lines are needed for."""
    squares, reached = _squares(max_line), max(layer)
    found: dict[int, _Wrapped] = {}
    for begin, (cost, ends) in layer.items():
        so_far = cost + costs[begin]
        column = 0
        for at in range(begin, len(pieces)):
            piece = pieces[at]
            column += piece.width + (piece.spaced and column > 0)
            if column > max_line:
                break
            end = at + 1
            if end > reached:
                candidate = (so_far + squares[column], (*ends, end))
                if end not in found or candidate < found[end]:
                    found[end] = candidate
    assert found, "pieces are no wider than a line, so each end can be reached"
    return found


def _rests(pieces: Sequence[Piece]) -> list[int]:
    """Columns of a line from each piece to the end."""
    alone, behind = 0, 0
    rests = []
    for piece in reversed(pieces):
        alone = piece.width + (behind if piece.width else alone)
        behind += piece.width + piece.spaced
        rests.append(alone)
    return rests[::-1]


@lru_cache(maxsize=16)
def _squares(max_line: int) -> list[float]:
    """What a line of so many columns costs: squares add up to least where lines are alike."""
    return [4.0 * (column / max_line) ** 2 for column in range(max_line + 1)]


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(
        f" {piece.text}" if piece.spaced and i else piece.text for i, piece in enumerate(pieces)
    )
