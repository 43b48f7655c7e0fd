from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobs.remote.offload_runner.engine.redact import MARK, Redactor

TOKEN = "ghp_" + "a1B2" * 9


def in_pieces(text: str, cuts: list[int], values: tuple[str, ...] = ()) -> str:
    redactor = Redactor(values)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    out = [redactor.feed(text[a:b]) for a, b in pairwise(edges)]
    return "".join(out) + redactor.flush()


@given(st.lists(st.integers(min_value=0), max_size=12))
def test_a_token_is_found_however_it_is_cut(cuts: list[int]) -> None:
    assert in_pieces(f"before {TOKEN} after", cuts) == f"before {MARK} after"


@given(st.lists(st.integers(min_value=0), max_size=12))
def test_a_known_value_is_found_however_it_is_cut(cuts: list[int]) -> None:
    assert in_pieces("x hunter2hunter y hunter2hunter", cuts, ("hunter2hunter",)) == f"x {MARK} y {MARK}"


@given(st.text(max_size=200), st.lists(st.integers(min_value=0), max_size=12))
def test_text_without_secrets_is_left_alone(text: str, cuts: list[int]) -> None:
    whole = Redactor()
    assert in_pieces(text, cuts) == whole.feed(text) + whole.flush()
    if not any(
        prefix in text
        for prefix in ("gh", "sk-", "AIza", "AKIA", "ASIA", "glpat", "xox", "npm_", "pypi", "ya29")
    ):
        assert in_pieces(text, cuts) == text


def test_what_only_looks_like_a_beginning_stays() -> None:
    assert in_pieces("a desk-top, ghp_short, risk-free", [3, 9, 14]) == "a desk-top, ghp_short, risk-free"


def test_a_text_is_not_held_back_for_long() -> None:
    redactor = Redactor()
    assert redactor.feed("hello\n") == "hello\n"
    assert not redactor.holds
