"""Markdown from a worker as safe HTML: no markup of the text's own, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token


# markdown-it takes a renderer, and calls it with itself.
def _link_open(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrs["rel"] = "nofollow noopener noreferrer"
    return self.renderToken(tokens, index, options, env)


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    # The page loads nothing from other sites: an image is shown as its description.
    return self.renderInlineAsText(tokens[index].children, options, env)


def _cell_open(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    # The content policy allows no style attributes: a cell is aligned by a class.
    token = tokens[index]
    style = str(token.attrs.pop("style", ""))
    if style:
        token.attrs["class"] = "align-" + style.rpartition(":")[2].strip()
    return self.renderToken(tokens, index, options, env)


_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")
_MARKDOWN.add_render_rule("link_open", _link_open)
_MARKDOWN.add_render_rule("image", _image)
for _cell in ("th_open", "td_open"):
    _MARKDOWN.add_render_rule(_cell, _cell_open)


def render_markdown(text: str) -> SafeString:
    """Return Markdown as HTML; tags in the text are escaped, links to scripts are refused."""
    # html=False escapes tags; markdown-it refuses javascript:, vbscript:, file: and data: links.
    return mark_safe(str(_MARKDOWN.render(text)))  # noqa: S308
