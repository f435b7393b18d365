"""What every embedder promises (``search/embedder.py``), and what each has of its own."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.insight import fake_model
from tests.insight.conftest import Naps
from tests.search import tiny_onnx
from tests.search.talks import SUBJECTS, talk

from hansard import errors
from hansard.config import EmbeddingSettings
from hansard.search import lsa, passages
from hansard.search.embedder import Embedder, is_blank, unit
from hansard.search.lsa import Lsa
from hansard.search.onnx_embedder import OnnxEmbedder
from hansard.search.remote_embedder import RemoteEmbedder
from hansard.search.stems import stems


def texts_of(subject: str, seeds: range) -> list[str]:
    return [one.text for seed in seeds for one in passages.cut(talk(subject, seed))]


@pytest.fixture(scope="module")
def fitted() -> Lsa:
    return lsa.fit([text for subject in SUBJECTS for text in texts_of(subject, range(5))])


def remote(server: Any, naps: Naps | None = None, **settings: Any) -> RemoteEmbedder:
    values = {"base_url": server.url, "api_key": fake_model.KEY, "model": "vec", "batch": 4}
    return RemoteEmbedder(
        EmbeddingSettings.model_validate(values | settings), sleep=Naps() if naps is None else naps
    )


def _lsa(path: Path, stack: ExitStack) -> Embedder:
    del path, stack
    return lsa.fit([text for subject in SUBJECTS for text in texts_of(subject, range(5))])


def _young(path: Path, stack: ExitStack) -> Embedder:
    del path, stack
    return Lsa()


def _remote(path: Path, stack: ExitStack) -> Embedder:
    del path
    made = remote(stack.enter_context(fake_model.serve()))
    stack.callback(made.close)
    return made


def _onnx(path: Path, stack: ExitStack) -> Embedder:
    del stack
    return OnnxEmbedder(tiny_onnx.write(path / "tiny"))


FACTORIES: dict[str, Callable[[Path, ExitStack], Embedder]] = {
    "lsa": _lsa,
    "lsa of a young library": _young,
    "remote": _remote,
    "onnx": _onnx,
}


@pytest.fixture(scope="module", params=list(FACTORIES))
def embedder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Embedder]:
    with ExitStack() as stack:
        yield FACTORIES[request.param](tmp_path_factory.mktemp("embedder"), stack)


# ── all of them ──────────────────────────────────────────────────────────────────────────────


TEXTS = [
    "roof rain leak",
    "the budget, the bank!",
    "",
    "Roof\nloan",
    "…!?",
    "roof rain leak",
    "日本",
]


def test_rows_are_of_length_one_and_in_order(embedder: Embedder) -> None:
    rows = embedder.embed(TEXTS)
    assert rows.shape == (len(TEXTS), embedder.dimensions)
    assert rows.dtype == np.float32
    blank = [is_blank(text) for text in TEXTS]
    assert blank == [False, False, True, False, True, False, False]
    assert np.linalg.norm(rows, axis=1) == pytest.approx(
        [float(not one) for one in blank], abs=1e-5
    )
    np.testing.assert_allclose(rows[0], rows[5], atol=1e-6)


def test_a_text_has_one_vector_whatever_stands_beside_it(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS)
    backwards = embedder.embed(TEXTS[::-1])[::-1]
    alone = np.stack([embedder.embed_query(text) for text in TEXTS])
    np.testing.assert_allclose(together, backwards, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_is_alike_lies_closer(embedder: Embedder) -> None:
    rows = embedder.embed(["roof rain leak", "leak of rain", "loan budget bank"])
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2


def test_nothing_gives_nothing(embedder: Embedder) -> None:
    assert embedder.embed([]).shape[0] == 0
    assert not embedder.embed(["", " \n"]).any()
    assert embedder.embed([]).dtype == np.float32


def test_it_has_a_name_that_fits_its_column(embedder: Embedder) -> None:
    assert 0 < len(embedder.method) <= 64


def test_a_long_text_is_taken_whole(embedder: Embedder) -> None:
    end = embedder.embed(["roof " * 400 + "budget bank loan " * 400, "roof " * 400])
    assert end[0] @ end[1] < 0.999


def test_rows_that_are_no_numbers_are_nothing() -> None:
    rows = unit(np.array([[np.nan, 0], [np.inf, 3], [0, 0], [3, 4]], np.float32))
    expected = np.array([[0, 0], [0, 1], [0, 0], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(rows, expected, atol=1e-6)


# ── latent semantic analysis ─────────────────────────────────────────────────────────────────


def test_passages_are_nearest_to_those_of_their_subject(fitted: Lsa) -> None:
    known = {subject: texts_of(subject, range(10, 12)) for subject in SUBJECTS}
    rows = {subject: fitted.embed(texts) for subject, texts in known.items()}
    for subject, words in SUBJECTS.items():
        query = fitted.embed_query(" ".join(words.split()[:2]))
        means = {other: float((rows[other] @ query).mean()) for other in SUBJECTS}
        assert max(means, key=lambda other: means[other]) == subject


def test_words_that_go_together_are_alike_without_one_in_common(fitted: Lsa) -> None:
    assert not set(stems("tiles gutter")) & set(stems("chimney slate"))
    together = fitted.embed(["tiles gutter", "chimney slate", "invoice audit"])
    assert together[0] @ together[1] > 0.3 > together[0] @ together[2] + 0.1


def test_fitting_gives_the_same_each_time(fitted: Lsa) -> None:
    again = lsa.fit([text for subject in SUBJECTS for text in texts_of(subject, range(5))])
    assert again.to_bytes() == fitted.to_bytes()
    assert again.fitted == fitted.fitted > lsa.FEWEST


def test_what_is_kept_comes_back(fitted: Lsa) -> None:
    back = Lsa.from_bytes(fitted.to_bytes())
    np.testing.assert_array_equal(back.embed(TEXTS), fitted.embed(TEXTS))
    assert (back.fitted, back.language) == (fitted.fitted, fitted.language)
    young = Lsa.from_bytes(Lsa(language="de").to_bytes())
    assert (young.fitted, young.language) == (0, "de")


def _packed(**parts: Any) -> bytes:
    held = io.BytesIO()
    np.savez(held, **parts)
    return held.getvalue()


HEAD = np.frombuffer(b'{"method":"lsa-1","fitted":9,"language":null,"words":["a","b"]}', np.uint8)
GOOD = {
    "head": HEAD,
    "idf": np.ones(2, np.float32),
    "directions": np.ones((2, 3), np.float16),
}


@pytest.mark.parametrize(
    "change",
    [
        {"head": np.frombuffer(b"{}", np.uint8)},
        {"head": np.frombuffer(HEAD.tobytes().replace(b"lsa-1", b"lsa-9"), np.uint8)},
        {"head": np.frombuffer(HEAD.tobytes().replace(b'"b"', b'"a"'), np.uint8)},
        {"idf": np.ones(3, np.float32)},
        {"idf": np.ones(2, np.float64)},
        {"idf": np.array([1, np.nan], np.float32)},
        {"directions": np.ones((2, 400), np.float16)},
        {"directions": np.array([{"a": print}], dtype=object)},
    ],
)
def test_what_is_no_body_is_refused(change: dict[str, Any]) -> None:
    assert Lsa.from_bytes(_packed(**GOOD)).fitted == 9
    with pytest.raises(errors.EmbedderBroken):
        Lsa.from_bytes(_packed(**(GOOD | change)))


def test_a_bomb_and_rubbish_are_refused() -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("head.npy", b"\0" * (65 * 2**20))
    whole = _packed(**GOOD)
    for body in (held.getvalue(), b"", b"PK", whole[:-40], whole[:100], b"\x80\x04."):
        with pytest.raises(errors.EmbedderBroken):
            Lsa.from_bytes(body)


@given(st.binary(max_size=60), st.integers(0, 600))
def test_a_damaged_body_is_refused_or_read(noise: bytes, at: int) -> None:
    whole = _packed(**GOOD)
    with suppress(errors.EmbedderBroken):
        Lsa.from_bytes(whole[:at] + noise + whole[at + len(noise) :])


def test_too_few_passages_fit_nothing() -> None:
    for texts in ([], ["one"], texts_of("roof", range(1)), ["same words"] * 200, [""] * 100):
        made = lsa.fit(texts)
        assert made.embed(["roof repair"]).any()
        assert np.isfinite(made.embed(texts)).all()
    assert lsa.fit(texts_of("roof", range(1))).fitted == 0


def test_unknown_words_are_counted(fitted: Lsa) -> None:
    assert fitted.unknown(["roof tiles"]) == 0.0
    assert fitted.unknown(["roof zeppelin"]) == 0.5
    assert fitted.unknown([]) == 0.0
    assert Lsa().unknown(["roof"]) == 1.0


def test_a_new_word_is_found_before_the_next_fitting(fitted: Lsa) -> None:
    rows = fitted.embed(["a zeppelin above the roof", "the roof and its tiles"])
    query = fitted.embed_query("zeppelin")
    assert rows[0] @ query > 0.3 > rows[1] @ query


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_text_has_a_vector(texts: list[str]) -> None:
    rows = Lsa().embed(texts)
    lengths = np.linalg.norm(rows, axis=1)
    assert ((abs(lengths - 1) < 1e-4) | (lengths == 0)).all()


# ── stems ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("The roofs were leaking, weren't they?", None, ["roof", "leak", "weren"]),
        ("Die Häuser", "de", ["haus"]),
        ("Häuser", "en", ["häuser"]),
        ("предложения предложение", None, ["предложен", "предложен"]),
        ("Εξετάσεις", "en", ["εξετασ"]),
        ("日本語", None, ["日本", "本語"]),
        ("ราคา", "th", ["รา", "าค", "คา"]),
        ("שלום", None, ["שלו", "לום"]),
        ("2026 Q3", None, ["2026", "q3"]),
        ("\ufb01nance", None, ["financ"]),
        ("", None, []),
    ],
)
def test_words_become_stems(text: str, language: str | None, found: list[str]) -> None:
    assert stems(text, language) == found


# ── an endpoint ──────────────────────────────────────────────────────────────────────────────


def test_passages_go_out_in_batches_and_cost_is_counted() -> None:
    with fake_model.serve() as server:
        made = remote(server, price=2.0, dimensions=12)
        rows = made.embed([f"word{n}" for n in range(9)] + [" "])
        assert rows.shape == (10, 12)
        assert [len(call.asked["input"]) for call in server.calls] == [4, 4, 1]
        assert {call.asked["dimensions"] for call in server.calls} == {12}
        assert made.spent == pytest.approx((5 + 5 + 1) * 2 / 1e6)
        assert made.method == "openai:vec/12"
        made.close()


def test_an_endpoint_is_asked_once_how_long_its_vectors_are() -> None:
    with fake_model.serve() as server:
        made = remote(server)
        assert made.dimensions == made.dimensions == server.dimensions
        assert len(server.calls) == 1
        made.close()


def test_an_endpoint_that_is_busy_is_asked_again() -> None:
    with fake_model.serve() as server:
        server.script = [fake_model.busy("3"), fake_model.status(500)]
        naps = Naps()
        made = remote(server, naps)
        assert made.embed(["roof"]).any()
        assert 3 <= naps[0] <= 4
        server.script = [fake_model.status(401)]
        with pytest.raises(errors.LanguageModelRefused):
            made.embed(["roof"])
        made.close()


def test_a_batch_that_is_too_long_is_halved() -> None:
    with fake_model.serve() as server:
        server.script = [fake_model.status(400, "maximum context length is 512 tokens")] * 2
        made = remote(server)
        assert made.embed(["a1", "b2", "c3", "d4"]).any(axis=1).all()
        assert [len(call.asked["input"]) for call in server.calls] == [4, 2, 1, 1, 2]
        server.script = [fake_model.status(413)] * 3
        with pytest.raises(errors.TextTooLong):
            made.embed(["a1", "b2"])
        made.close()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"data": []}',
        b'{"data": [{"index": 1, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": ["1"]}]}',
        b'{"data": [{"index": 0, "embedding": []}]}',
        b'{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1]}]}',
    ],
)
def test_an_endpoint_that_answers_something_else_is_refused(body: bytes) -> None:
    with fake_model.serve() as server:
        server.script = [fake_model.body(body)]
        made = remote(server)
        with pytest.raises(errors.LanguageModelError, match="vectors"):
            made.embed(["roof"])
        made.close()


def test_vectors_that_change_their_length_are_refused() -> None:
    with fake_model.serve() as server:
        made = remote(server)
        made.embed(["roof"])
        server.dimensions = 7
        with pytest.raises(errors.LanguageModelError, match="7 numbers instead of 24"):
            made.embed(["roof"])
        made.close()


# ── a model on this machine ──────────────────────────────────────────────────────────────────


def test_the_vector_is_the_mean_of_the_states(tmp_path: Path) -> None:
    made = OnnxEmbedder(tiny_onnx.write(tmp_path / "tiny"))
    table = tiny_onnx.table()
    expected = unit(np.stack([(table[2] + table[5] + table[1]) / 3]))
    np.testing.assert_allclose(made.embed(["Roof budget zeppelin"]), expected, atol=1e-6)
    # Forty words are three goes of sixteen, and none of them counts for more than it has.
    long = unit(np.stack([(35 * table[3] + 5 * table[6]) / 40]))
    np.testing.assert_allclose(made.embed(["rain " * 35 + "bank " * 5]), long, atol=1e-6)
    assert made.method.startswith("onnx:tiny:")


def test_a_model_that_takes_less_is_given_less(tmp_path: Path) -> None:
    made = OnnxEmbedder(tiny_onnx.write(tmp_path / "tiny", inputs=("input_ids",)), threads=1)
    assert made.embed(["roof"]).any()


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.EmbedderBroken, match=r"no model\.onnx"):
        OnnxEmbedder(tmp_path)
    for name in ("model.onnx", "tokenizer.json"):
        folder = tiny_onnx.write(tmp_path / name)
        (folder / name).write_bytes(b"rubbish")
        with pytest.raises(errors.EmbedderBroken, match="cannot be loaded"):
            OnnxEmbedder(folder)
    with pytest.raises(errors.EmbedderBroken, match="pixel_values"):
        OnnxEmbedder(tiny_onnx.write(tmp_path / "c", inputs=("input_ids", "pixel_values")))
