"""Terminal output as safe HTML."""

import re

from hypothesis import given
from hypothesis import strategies as st

from jobs.dashboard.logs.ansi import render_lines


def to_html(text: str) -> str:
    return "\n".join(render_lines(text))


def test_colours_become_classes() -> None:
    assert to_html("\x1b[1;31mred\x1b[0m plain") == '<span class="a-bold a-fg-red">red</span> plain'
    assert to_html("\x1b[92mok\x1b[39m") == '<span class="a-fg-green-bright">ok</span>'
    assert to_html("\x1b[38;5;196mx") == '<span class="a-fg-red-bright">x</span>'
    assert to_html("\x1b[38;2;0;0;250mx") == '<span class="a-fg-blue-bright">x</span>'


def test_a_colour_goes_on_over_lines() -> None:
    assert to_html("\x1b[31ma\nb") == '<span class="a-fg-red">a</span>\n<span class="a-fg-red">b</span>'


def test_an_overwritten_line_shows_what_was_written_last() -> None:
    assert to_html("10%\r50%\r100%\nnext") == "100%\nnext"
    assert to_html("one\r\ntwo\r") == "one\ntwo"


def test_titles_links_and_movements_are_dropped() -> None:
    assert to_html("\x1b]0;title\x07a\x1b[2Kb\x1b]8;;http://x\x1b\\c") == "abc"
    assert to_html("a\x00\x08b\x1b") == "ab"


def test_addresses_are_links_and_cannot_leave_their_attribute() -> None:
    assert to_html('see https://x.example/a?b=1&c="><script>.') == (
        'see <a href="https://x.example/a?b=1&amp;c=" rel="nofollow noopener noreferrer" target="_blank">'
        "https://x.example/a?b=1&amp;c=</a>&quot;&gt;&lt;script&gt;."
    )


def test_markup_is_text() -> None:
    assert to_html("<script>&\"'") == "&lt;script&gt;&amp;&quot;&#x27;"


@given(st.text(alphabet=st.sampled_from("<>&\"'\x1b[];m0135;8\r\n\x07ax")))
def test_nothing_of_a_log_is_ever_markup(text: str) -> None:
    rest = re.sub(r'<span class="[a-z -]*">|</span>', "", to_html(text))
    assert not set("<>\"'\x1b") & set(rest)
