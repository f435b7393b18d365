"""Pages say what the code says, links lead somewhere, and the README's commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ── the generated pages ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["settings.md", "errors.md", "cli.md", "routes.md", "tree.md"])
def test_page_is_what_the_code_says(build: ModuleType, name: str) -> None:
    if name == "tree.md" and not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project is not known")
    assert build.drift(name) == "", "write the pages again: make docs"


def test_every_generated_page_is_checked_here(build: ModuleType) -> None:
    assert set(build.PAGES) == {"settings.md", "errors.md", "cli.md", "routes.md", "tree.md"}


def test_pages_are_the_same_on_every_machine(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = [build.PAGES[name]() for name in ("settings.md", "errors.md", "cli.md")]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HANSARD_MODEL", "large")
    monkeypatch.setenv("COLUMNS", "40")
    after = [build.PAGES[name]() for name in ("settings.md", "errors.md", "cli.md")]
    assert after == before
    assert str(tmp_path) not in "".join(after)


def test_check_shows_a_diff_and_fails(
    build: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "PAGES", {"errors.md": build.errors})
    assert build.main(["--check"]) == 1
    assert "+| `empty_file` | 422 | 3 | no | The file has no bytes. |" in capsys.readouterr().out
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    (tmp_path / "docs" / "errors.md").write_text("stale", "utf-8")
    assert build.main(["--check"]) == 1
    assert "-stale" in capsys.readouterr().out


def test_a_bar_in_a_cell_stays_in_its_cell(build: ModuleType) -> None:
    assert build.table(["a"], [["x | y\nz"]]).splitlines()[-1] == "| x \\| y z |"


def test_errors_have_codes_of_their_own() -> None:
    from hansard.errors import HansardError

    kinds = [HansardError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert all(kind.__doc__ for kind in kinds)


# ── what people wrote ────────────────────────────────────────────────────────────────────────


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get where it is shown (GitHub's rule)."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", WRITTEN, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue  # an address elsewhere; tests do not reach out
        name, _, anchor = target.partition("#")
        aim = (page.parent / name).resolve() if name else page
        if not aim.exists() or (anchor and anchor not in anchors(aim)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", WRITTEN, ids=relative)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.search(r"\b(T[O]DO|FI[X]ME|T[B]D|X[X]X)\b", page.read_text("utf-8"))


def test_make_targets_in_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    asked = set()
    for page in WRITTEN:
        asked |= set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= asked, "the README's two commands"
    assert asked <= targets


def test_every_page_can_be_found_from_the_readme() -> None:
    seen = {ROOT / "README.md"}
    queue = [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        for name in re.findall(r"\]\(([^)\s#:]+\.md)", page.read_text("utf-8")):
            aim = (page.parent / name).resolve()
            if aim.exists() and aim not in seen:
                seen.add(aim)
                queue.append(aim)
    assert set(WRITTEN) - seen == set()


def test_python_in_the_readme_compiles() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert blocks, "the README shows the Python use"
    for block in blocks:
        compile(block, "README.md", "exec")
