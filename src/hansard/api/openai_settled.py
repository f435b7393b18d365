"""The words of a job that will not change any more, while the rest is still being heard.

Windows are done in any order, doubtful ones and gaps are heard a second time, and overlapping
windows are reconciled: what a window heard is not yet what the transcript says. So the windows are
fed, in order, into the very join that makes the transcript, and a segment is told once nothing
that is still to come can touch it:

* the segment after it is known, and between the two there is no unheard speech that would be
  heard again (``speech.coverage``);
* no window up to there is doubtful. At the first one that is, and at the first gap, telling ends;
  whoever follows gets the rest from the transcript.

What was told is therefore a beginning of the transcript, word for word.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue

from hansard.model import Segment, Window, WindowResult
from hansard.speech import join
from hansard.speech.coverage import GAP, TOLERANCE, CoverageMeter

Row = tuple[Window, WindowResult]


class Settled:
    """Takes windows of one channel and tells segments, on a thread of its own.

    The join pulls, and here its input comes when it comes: hence the thread, which sleeps until
    there is a row, and ends with :meth:`close`. It touches neither store nor disk.
    """

    def __init__(self, pad: float, tell: Callable[[Segment], None]) -> None:
        """``pad`` as the job's detection has it; ``tell`` is called on the thread."""
        self.index = -1
        """Of the last window taken."""
        self.frozen = False
        """Nothing more will be told."""
        self._tell = tell
        self._meter = CoverageMeter(pad=pad)
        self._rows: SimpleQueue[Row | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hansard-settled", daemon=True)
        self._thread.start()

    def feed(self, rows: Iterable[Row]) -> None:
        """Take finished windows of the first hearing, those after ``index``, in order."""
        for window, result in rows:
            if self.frozen or window.index != self.index + 1:
                return
            if result.doubt is not None:
                self.frozen = True
                return
            self.index = window.index
            self._rows.put((window, result))

    def close(self) -> None:
        """End the thread; nothing is told from now on but what is on its way."""
        self._closed = True
        self._rows.put(None)

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()

    def _windows(self) -> Iterator[Row]:
        while not self._closed and (row := self._rows.get()) is not None:
            yield row

    def _run(self) -> None:
        waiting: deque[Segment] = deque()
        heard = float("-inf")  # the end of the segment before the first that waits
        for segment in join.segments(self._windows(), meter=self._meter):
            if self._closed or self._meter.missed:
                self.frozen = True
                return
            waiting.append(segment)
            while len(waiting) > 1 and self._whole(heard, waiting[0], waiting[1]):
                told = waiting.popleft()
                heard = told.end
                self._tell(told)

    def _whole(self, heard: float, segment: Segment, after: Segment) -> bool:
        """Whether no gap can be before a segment, nor between it and the next one."""
        return self._unheard(heard, segment) < GAP and self._unheard(segment.end, after) < GAP

    def _unheard(self, heard: float, segment: Segment) -> float:
        """Seconds before a segment that may be speech and are not accounted for."""
        begun = max(self._meter.unsettled, heard + TOLERANCE)
        return segment.start - TOLERANCE - begun
