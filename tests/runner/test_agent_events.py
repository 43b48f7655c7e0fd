"""What each agent's events tell, read from recorded runs: one file an agent, its version and what happened.

`tests/support/model_api` was the model. The paths in them are the recording machine's.
"""

from pathlib import Path
from typing import Any

import pytest

from jobs.remote.offload_runner.steps.agent_events import OUTPUTS
from jobs.remote.offload_runner.steps.agent_output import Output
from tests.runner.test_agent import events

RECORDED = Path(__file__).parent / "agent_events"
TWO_CALLS = {"input": 2400, "output": 68, "cached": 400}


def hear(agent: str, output: bytes) -> tuple[Output, list[str]]:
    told: list[str] = []
    heard = OUTPUTS[agent](told.append)
    for start in range(0, len(output), 1000):
        heard.feed(output[start : start + 1000])
    heard.end()
    return heard, told


@pytest.mark.parametrize(
    ("run", "text", "tools", "tokens", "cost", "problem", "told"),
    [
        ("gemini-0.61.0-edit", "The work is done: 42.", 1, TWO_CALLS, None, "", "write_file"),
        ("gemini-0.61.0-cut", "The work ", 0, None, None, "Model stream ended", ""),
        (
            "claude-2.1.332-denied",
            "The work is done: 42.",
            1,
            TWO_CALLS,
            0.00714,
            "",
            "That failed: Claude req",
        ),
        ("claude-2.1.332-overload", "", 0, {}, 0.0, "API Error: 529 Overloaded.", "overloaded (status 529)"),
        ("codex-0.171.0-command", "The work is done: 42.", 1, TWO_CALLS, None, "", "command_execution"),
        ("codex-0.171.0-limit", "", 0, None, None, "try again at 1:45 PM", "usage limit"),
        ("opencode-1.18.33-edit", "The work is done: 42.", 1, TWO_CALLS, 0.00702, "", "write {"),
        ("opencode-1.18.33-unauthorized", "", 0, None, None, "invalid api key", ""),
    ],
)
def test_a_recorded_run_is_read(
    run: str, text: str, tools: int, tokens: Any, cost: float | None, problem: str, told: str
) -> None:
    heard, lines = hear(run.partition("-")[0], (RECORDED / f"{run}.jsonl").read_bytes())
    assert heard.text.endswith(text) or heard.text.startswith(text)
    assert bool(heard.text) == bool(text)
    assert problem in heard.problem
    assert bool(problem) == bool(heard.problem)
    assert (heard.about["tool_calls"], heard.about["cost"]) == (tools, cost)
    if tokens is not None:
        assert heard.about["tokens"] == (tokens or {"input": 0, "output": 0, "cached": 0})
    assert heard.about["session"]
    assert any(told in line for line in lines) or not told
    # Whatever cuts the stream before its last event is a failure.
    heard, _ = hear(run.partition("-")[0], (RECORDED / f"{run}.jsonl").read_bytes().rsplit(b"\n", 2)[0])
    assert heard.problem or run == "opencode-1.18.33-unauthorized"


@pytest.mark.parametrize(
    ("run", "states"),
    [
        ("gemini-0.61.0-edit", "thinking tool:write_file thinking done"),
        ("gemini-0.61.0-cut", "thinking failed"),
        ("claude-2.1.332-denied", "thinking tool:Write thinking done"),
        ("claude-2.1.332-overload", "thinking limit failed"),
        ("codex-0.171.0-command", "thinking tool:command_execution thinking done"),
        ("codex-0.171.0-limit", "thinking failed"),
        ("opencode-1.18.33-edit", "thinking tool:write thinking done"),
        ("opencode-1.18.33-unauthorized", "failed"),
    ],
)
def test_a_recorded_run_tells_what_the_agent_does(run: str, states: str) -> None:
    reported: list[tuple[str, ...]] = []
    heard = OUTPUTS[run.partition("-")[0]](lambda line: None, lambda *report: reported.append(report))
    output = (RECORDED / f"{run}.jsonl").read_bytes()
    heard.feed(output)
    heard.end()
    said = [f"{state}:{detail}" if state == "tool" else state for state, detail, *_ in reported]
    assert said == states.split()
    assert all(evidence[:100] in output.decode() for _, _, evidence, _ in reported)
    assert {session for *_, session in reported} == {heard.about["session"]}


def test_opencode_that_asks_again_for_ever_is_ended() -> None:
    step = {"type": "step_finish", "sessionID": "s", "part": {"reason": "unknown", "tokens": {"input": 0}}}
    stop = {**step, "part": {"reason": "stop", "tokens": {}}}
    heard, _ = hear("opencode", events(step, step, stop))
    assert (heard.problem, heard.is_over) == ("", False)
    heard, _ = hear("opencode", events(step))
    assert "ended with the reason 'unknown'" in heard.problem
    heard, _ = hear("opencode", events(step, step, step, stop))
    assert heard.is_over


@pytest.mark.parametrize("agent", [name for name in OUTPUTS if name != "text"])
def test_events_of_another_shape_are_no_success_and_no_crash(agent: str) -> None:
    odd: list[dict[str, Any]] = [
        {
            "type": kind,
            "subtype": 3,
            "message": [],
            "item": "x",
            "part": 7,
            "error": "x",
            "usage": [],
            "stats": 1,
        }
        for kind in ("system", "assistant", "user", "item.completed", "error", "step_finish", "text", "init")
    ]
    counts = {"input_tokens": -1, "output_tokens": "9", "cached": True, "input": 1.5}
    odd += [{"type": "result", "usage": counts, "stats": counts, "total_cost_usd": -1, "is_error": 0}]
    odd += [{"type": "turn.failed", "usage": counts}]
    heard, _ = hear(agent, events(*odd))
    assert heard.problem
    assert heard.about["cost"] is None
