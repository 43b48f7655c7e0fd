"""Server and page agree on what is a terminal's reply and what is typing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from terminals.frames import is_reply

CASES = json.loads(Path(__file__).with_name("replies.json").read_text())
TYPING = Path(__file__).parents[2] / "terminals/static/terminals/typing.js"
# A package without `"type": "module"` cannot be imported by path in every supported version of node.
SCRIPT = """
import { readFileSync } from "node:fs";
const [file, texts] = [process.argv[1], JSON.parse(process.argv[2])];
const { isReply } = await import("data:text/javascript," + encodeURIComponent(readFileSync(file, "utf8")));
console.log(JSON.stringify(texts.map(isReply)));
"""


@pytest.mark.parametrize("side", ["server", "page"])
def test_replies_are_told_from_typing(side: str) -> None:
    texts = [*CASES["replies"], *CASES["typing"]]
    if side == "server":
        answers = [is_reply(text.encode()) for text in texts]
    else:
        argv = ["node", "--input-type=module", "-e", SCRIPT, str(TYPING), json.dumps(texts)]
        answers = json.loads(subprocess.run(argv, capture_output=True, check=True, text=True).stdout)
    taken_for_replies = [text for text, answer in zip(texts, answers, strict=True) if answer]
    assert taken_for_replies == CASES["replies"]
