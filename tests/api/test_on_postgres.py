"""The service over PostgreSQL: what was tested over SQLite, the way of a recording from end to end.

The tests are those of the other files, run again with another store below.
"""

from __future__ import annotations

from tests.api.conftest import Serve
from tests.api.conftest import serve_on_postgres as serve
from tests.api.test_auth import _route_that_tells, test_a_key_has_so_much_audio_a_day
from tests.api.test_events import (
    long,
    test_a_job_is_followed_from_its_beginning_to_its_end,
    test_who_was_cut_off_goes_on_without_loss_or_repeat,
)
from tests.api.test_jobs import (
    test_a_list_is_kept_until_something_is_written,
    test_names_that_nobody_has,
)
from tests.api.test_live import test_what_is_being_said_is_guessed_until_it_is_final
from tests.api.test_statistics import test_days_are_summed_up_by_what_became_of_them
from tests.api.test_transcriptions import (
    PLACE,
    filled,
    pages,
    test_a_crowd_with_one_key_is_one_job,
    test_a_file_becomes_a_job_and_a_transcript,
    test_a_transcription_has_a_version,
    test_cancel_retry_and_delete,
    test_nobody_sees_or_touches_what_is_anothers,
    test_pages_are_filtered,
)
from tests.api.test_uploads import (
    quiet,
    test_an_expired_upload_is_gone_and_an_active_one_lives,
    test_an_upload_becomes_a_recording_and_is_gone,
)
from tests.api.test_usage import (
    test_money_is_counted_once_however_often_a_job_is_retried,
    test_sums_by_day_key_and_engine,
)
from tests.api.test_webhooks import (
    receiver,
    test_a_transcription_tells_of_its_end,
    test_pages_of_deliveries,
)
from tests.waiting import until

__all__ = [
    "_route_that_tells",
    "long",
    "quiet",
    "receiver",
    "serve",
    "test_a_crowd_with_one_key_is_one_job",
    "test_a_file_becomes_a_job_and_a_transcript",
    "test_a_job_is_followed_from_its_beginning_to_its_end",
    "test_a_key_has_so_much_audio_a_day",
    "test_a_list_is_kept_until_something_is_written",
    "test_a_transcription_has_a_version",
    "test_a_transcription_tells_of_its_end",
    "test_an_expired_upload_is_gone_and_an_active_one_lives",
    "test_an_upload_becomes_a_recording_and_is_gone",
    "test_cancel_retry_and_delete",
    "test_days_are_summed_up_by_what_became_of_them",
    "test_money_is_counted_once_however_often_a_job_is_retried",
    "test_names_that_nobody_has",
    "test_nobody_sees_or_touches_what_is_anothers",
    "test_pages_are_filtered",
    "test_pages_of_deliveries",
    "test_sums_by_day_key_and_engine",
    "test_what_is_being_said_is_guessed_until_it_is_final",
    "test_who_was_cut_off_goes_on_without_loss_or_repeat",
]


def test_what_one_process_writes_another_shows(serve: Serve) -> None:
    """Two of them, each with answers that it keeps ready."""
    writer, reader = serve(work=False), serve(work=False)
    ids = filled(writer, 3)
    name = ids[1]
    until(lambda: pages(reader, limit=5) == [ids[::-1]])
    first = reader.http.get(f"/api/v1/jobs/{name}")
    assert writer.http.delete(f"{PLACE}/{name}").status_code == 204
    until(lambda: reader.http.get(f"/api/v1/jobs/{name}").status_code == 404)
    assert first.status_code == 200
    assert pages(reader, limit=5) == [[ids[2], ids[0]]]
