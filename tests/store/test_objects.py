"""Object storage that misbehaves: refuses, cuts, hangs, is full, or is not what it should be."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from tests.certificates import Authority
from tests.flow.wire import Wire
from tests.storage import Proxy, Storage, each, once
from tests.waiting import until

from hansard.errors import (
    BadSettings,
    DiskFull,
    FilesGone,
    HansardError,
    MachineError,
    MissingPart,
)
from hansard.store import lifecycle
from hansard.store.objects import Objects

NOISE = random.Random(3).randbytes(11 * 2**20)
"""More than two parts."""
SHA256 = hashlib.sha256(NOISE).hexdigest()
DAY = 86_400.0
KEEPING = """
import sys
from pathlib import Path
from hansard.config import load
from hansard.store import opening
files = opening.files(load(data=Path(sys.argv[1])), "killed")
with files.take_in("noise", [Path(sys.argv[2]).read_bytes()]) as draft:
    draft.keep()
"""


def opened(place: Storage, root: Path, worker: str = "worker", **s3: Any) -> Objects:
    return Objects(root, worker, place.address, place.s3(**s3), chunk=64 * 1024)


@pytest.fixture
def files(storage: Storage, tmp_path: Path) -> Iterator[Objects]:
    files = opened(storage, tmp_path)
    yield files
    files.close()


@pytest.fixture
def proxy(storage: Storage) -> Iterator[Proxy]:
    with Proxy(storage.endpoint) as proxy:
        yield proxy


def keep(files: Objects, content: bytes = NOISE) -> None:
    with files.take_in("noise", [content]) as draft:
        draft.keep()


# ── it goes on ───────────────────────────────────────────────────────────────────────────────


def test_whatever_goes_wrong_on_the_way_all_of_it_arrives(
    storage: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.plan = each(4, ("503", "cut", "torn", "lost"))
    samples = np.frombuffer(NOISE[: 2**18], np.int16)
    files = opened(storage.through(proxy), tmp_path)
    keep(files)
    with files.open_recording(SHA256) as path:
        assert path.read_bytes() == NOISE
    with files.write_pcm("job", 1) as pcm:
        pcm.write(samples[None, :100_000])
        pcm.flush()
        pcm.write(samples[None, 100_000:])
    assert np.array_equal(files.read_pcm("job", 0, 0, len(samples)), samples)
    files.drop_pcm("job")
    files.close()
    assert len(proxy.faults) > 5
    assert storage.keys() == [f"recordings/{SHA256[:2]}/{SHA256}"]


def test_a_read_goes_on_where_it_was_cut(
    files: Objects, storage: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    keep(files)
    proxy.plan = once("cut", "GET")
    through = opened(storage.through(proxy), tmp_path, "through")
    got = b"".join(through.read_recording(SHA256, 100, 1_000_100))
    through.close()
    assert got == NOISE[100:1_000_100]
    asked = [range_ for method, _, range_ in proxy.asked if method == "GET"]
    assert asked == ["bytes=100-1000099", "bytes=500100-1000099"]


def test_silence_is_not_waited_for_for_ever(
    files: Objects, storage: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    keep(files)
    proxy.plan = once("stall", "GET")
    through = opened(storage.through(proxy), tmp_path, "through", timeout=1.0)
    assert b"".join(through.read_recording(SHA256, 0, 10)) == NOISE[:10]
    through.close()
    assert proxy.faults == ["stall"]


def test_a_lost_answer_to_the_last_request_of_an_upload_is_no_failure(
    storage: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.plan = once("lost", "POST", "uploadId=")
    files = opened(storage.through(proxy), tmp_path)
    keep(files)
    files.close()
    assert proxy.faults == ["lost"]
    assert storage.keys() == [f"recordings/{SHA256[:2]}/{SHA256}"]


def test_a_writer_whose_time_is_over_costs_a_reader_nothing(
    files: Objects, storage: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    """It puts a shorter beginning over a longer one; the next flush of the other puts it right."""
    samples = np.arange(1000, dtype=np.int16)
    whole, short = samples.tobytes(), samples[:100].tobytes()
    place = "pcm/job/0/000000.part"
    files.bucket.put(place, short)

    def right(method: str, path: str) -> None:
        if method == "GET" and sum(place in asked for _, asked, _ in proxy.asked) == 2:
            files.bucket.put(place, whole)
        del path

    proxy.plan = right
    reader = opened(storage.through(proxy), tmp_path, "reader")
    assert np.array_equal(reader.read_pcm("job", 0, 0, 1000), samples)
    reader.close()


# ── nothing half ─────────────────────────────────────────────────────────────────────────────


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_to_be_seen(
    files: Objects, storage: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "noise").write_bytes(NOISE)
    proxy.plan = once("stall", "PUT", "partNumber=3")
    killed = subprocess.Popen(
        [sys.executable, "-c", KEEPING, str(tmp_path), str(tmp_path / "noise")],
        env={**os.environ, **storage.through(proxy).environment()},
    )
    until(lambda: proxy.faults, "the last part is on its way")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not files.has_recording(SHA256)
    assert storage.keys() == []
    assert [key for key, _ in files.bucket.abandoned(time.time() + 1)] == [
        f"recordings/{SHA256[:2]}/{SHA256}"
    ]
    files.tend(DAY)  # moto says of every upload that it was begun in 2010
    assert len(list(files.bucket.abandoned(time.time() + 1))) == 1, "it could still go on"
    files.tend(time.time() + 3 * DAY)
    assert list(files.bucket.abandoned(time.time() + 1)) == []
    keep(files)
    with files.open_recording(SHA256) as path:
        assert path.read_bytes() == NOISE


def test_an_upload_that_fails_is_given_up_at_once(
    files: Objects, storage: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.plan = once("403", "PUT", "partNumber=2")
    through = opened(storage.through(proxy), tmp_path, "through")
    with pytest.raises(MachineError, match="refuses"):
        keep(through)
    through.close()
    assert storage.keys() == []
    assert list(files.bucket.abandoned(time.time() + 1)) == []


def test_other_bytes_than_those_that_were_kept_are_not_taken(files: Objects) -> None:
    keep(files)
    files.bucket.put(f"recordings/{SHA256[:2]}/{SHA256}", NOISE[:-1] + b"?")
    with pytest.raises(FilesGone, match="other bytes"), files.open_recording(SHA256):
        pass
    assert [path for path in (files.root / "tmp").rglob("*") if path.is_file()] == []


# ── what is said ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        ("403", MachineError, "refuses"),
        ("501", BadSettings, "cannot do"),
        ("507", DiskFull, "no room"),
        ("503", FilesGone, "not do"),
    ],
)
def test_refusals_are_errors_of_ours(
    storage: Storage, proxy: Proxy, tmp_path: Path, *, status: str, kind: type[Any], said: str
) -> None:
    proxy.plan = lambda _method, _path: status
    files = opened(storage.through(proxy), tmp_path, attempts=1)
    with pytest.raises(kind, match=said) as caught:
        files.bucket.put("x", b"x")
    assert isinstance(caught.value, HansardError)
    assert caught.value.hint
    with pytest.raises(BadSettings if kind is BadSettings else MachineError):
        files.see_that_they_answer()
    files.close()


def test_storage_is_believed_by_its_certificate(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = (Authority.made(tmp_path / name) for name in ("ours", "theirs"))
    wire = Wire(urlsplit(storage.endpoint).port or 0, tls=ours.server("127.0.0.1"))
    there = f"https://127.0.0.1:{wire.port}"
    monkeypatch.setenv("AWS_CA_BUNDLE", str(ours.path))
    files = opened(storage, tmp_path, endpoint=there)
    keep(files)
    assert files.has_recording(SHA256)
    files.close()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(theirs.path))
    others = opened(storage, tmp_path, "other", endpoint=there, attempts=1)
    with pytest.raises(FilesGone, match="CERTIFICATE_VERIFY_FAILED"):
        keep(others)
    others.close()
    wire.close()


def test_a_bucket_that_is_taken_away_is_named(
    storage: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    """In the middle of a list some say of a bucket no more than of a key: not found."""
    proxy.plan = lambda method, _path: "404" if method == "GET" else None
    files = opened(storage.through(proxy), tmp_path)
    for look in (
        lambda: list(files.bucket.abandoned(time.time())),
        lambda: list(files.bucket.entries("")),
        lambda: files.tend(time.time()),
    ):
        with pytest.raises(BadSettings, match="no bucket"):
            look()
    files.close()


def test_no_bucket_and_nobody_there(storage: Storage, tmp_path: Path) -> None:
    nowhere = Objects(tmp_path, "a", "s3://hansard-nothing-here/x", storage.s3(), chunk=1024)
    with pytest.raises(BadSettings, match="no bucket"):
        keep(nowhere)
    with pytest.raises(BadSettings, match="no bucket"):
        nowhere.see_that_they_answer()
    nowhere.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    silent = Objects(
        tmp_path, "b", storage.address, storage.s3(endpoint=f"http://127.0.0.1:{port}", attempts=1)
    )
    with pytest.raises(FilesGone, match="does not answer"):
        keep(silent)
    silent.close()


@pytest.mark.parametrize("address", ["", "bucket/x", "http://bucket/x", "s3:///x", "s3://b/x?y=1"])
def test_addresses_that_are_none(storage: Storage, tmp_path: Path, address: str) -> None:
    with pytest.raises(BadSettings, match="no place"):
        Objects(tmp_path, "a", address, storage.s3())


def test_without_boto3_it_says_what_to_install(
    files: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.config", None)
    with pytest.raises(MissingPart) as caught:
        files.has_recording(SHA256)
    assert "hansard[scale]" in str(caught.value.hint)


# ── the bucket ───────────────────────────────────────────────────────────────────────────────


def test_what_is_kept_is_encrypted_where_that_is_asked_for(
    storage: Storage, tmp_path: Path
) -> None:
    files = opened(storage, tmp_path, encryption="aws:kms", kms_key="alias/ours")
    keep(files)
    keep(files, b"small")
    for sha256 in (SHA256, hashlib.sha256(b"small").hexdigest()):
        with files.bucket.client() as client:
            said = client.head_object(
                Bucket=storage.name, Key=f"a/prefix/recordings/{sha256[:2]}/{sha256}"
            )
        assert said["ServerSideEncryption"] == "aws:kms"
        assert "alias/ours" in said["SSEKMSKeyId"]
        assert said["Metadata"] == {"sha256": sha256}
    files.close()


def test_the_bucket_learns_what_to_forget_and_keeps_its_own_rules(files: Objects) -> None:
    own = {
        "ID": "somebody else's",
        "Status": "Enabled",
        "Filter": {"Prefix": "logs/"},
        "Expiration": {"Days": 5},
    }
    with files.bucket.client() as client:
        client.put_bucket_lifecycle_configuration(
            Bucket=files.bucket.name, LifecycleConfiguration={"Rules": [own]}
        )
    for _ in range(2):
        files.tend(time.time())
    with files.bucket.client() as client:
        found = client.get_bucket_lifecycle_configuration(Bucket=files.bucket.name)["Rules"]
    assert len(found) == 3
    assert found[0] == own
    assert {rule["Filter"]["Prefix"] for rule in found[1:]} == {"a/prefix/", "a/prefix/pcm/"}


def test_a_bucket_whose_rules_are_not_ours_to_set_is_said_once(
    storage: Storage, proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.plan = lambda method, path: "403" if method == "PUT" and "lifecycle" in path else None
    files = opened(storage.through(proxy), tmp_path)
    with caplog.at_level(logging.WARNING):
        assert not lifecycle.see_to(files.bucket)
        files.tend(time.time())
    assert len([one for one in caplog.messages if "AbortIncompleteMultipartUpload" in one]) == 1
    files.close()


def test_an_address_gives_a_recording_to_whoever_has_it(storage: Storage, tmp_path: Path) -> None:
    files = opened(storage, tmp_path, direct=True, direct_seconds=60)
    keep(files)
    where = files.address_of(SHA256, name='ein "Ü".flac', media_type="audio/flac")
    assert where is not None
    answer = httpx.get(where, headers={"range": "bytes=5-9"}, trust_env=False)
    assert answer.content == NOISE[5:10]
    assert answer.headers["content-type"] == "audio/flac"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    files.close()
