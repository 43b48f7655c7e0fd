"""The model gateway: real tasks reach a strict API on loopback through their runner, without its key."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.remote.offload_runner.gateway.apis import Meter, Usage, wait_seconds
from jobs.remote.offload_runner.gateway.spec import problems
from jobs.remote.offload_runner.protocol import Task
from tests.support.runner_root import SESSION, RunnerRoot
from tests.support.strict_model_api import KEY, StrictApi, strict_api

# What tasks have: a line to their gateway, and a function that says what came of one call.
CLIENT = r"""
import http.client, json, os, urllib.parse
url = urllib.parse.urlsplit(os.environ["OFFLOAD_MODEL_URL"])
def connect(): return http.client.HTTPConnection(url.hostname, url.port, timeout=60)
def ask(model, path=None, method="POST", body=b"{}", headers={}):
    line = connect()
    path = path or "%s/gemini/v1beta/models/%s:streamGenerateContent?alt=sse&key=x" % (url.path, model)
    try:
        line.request(method, path, body, headers)
        answer = line.getresponse()
        said = answer.read()
        print(json.dumps([model, answer.status, said.decode()[:300], dict(answer.getheaders())]))
    except (OSError, http.client.HTTPException) as error:
        print(json.dumps([model, 0, type(error).__name__, {}]))
"""


@pytest.fixture
def api() -> Iterator[StrictApi]:
    """A model API."""
    with strict_api() as served:
        yield served


def run(root: RunnerRoot, api: StrictApi, code: str, ends: int = 0, **more: Any) -> list[list[Any]]:
    """Run a task that does `code` with a gateway; return the lines of JSON that it printed."""
    gateway = {
        "api": "gemini",
        "url": api.url,
        "secret": "MODEL_KEY",
        "env": {"A_URL": "{url}/gemini"},
        **more,
    }
    task = Task("agent", "agent", argv=[sys.executable, "-c", CLIENT + code], gateway=gateway, evidence=False)
    root.job([task])
    given = {"secrets": {"MODEL_KEY": KEY}, "for": ["run"]}
    root.lines("secrets", "--session", SESSION, spec=given)
    done = root.run()
    assert done.returncode == ends, (done.stderr, root.log("agent"))
    assert api.wrong == []
    return [json.loads(line) for line in root.log("agent").splitlines() if line.startswith("[")]


def test_an_answer_streams_is_counted_and_needs_no_key(root: RunnerRoot, api: StrictApi) -> None:
    code = r"""
assert os.environ["A_URL"] == os.environ["OFFLOAD_MODEL_URL"] + "/gemini"
print("key" if "planted" in str(os.environ) + open("/proc/%d/cmdline" % os.getppid()).read() else "none")
line = connect()
path = url.path + "/gemini/v1beta/models/good:streamGenerateContent?alt=sse"
line.request("POST", path, iter([b"{", b"}"]),
             {"x-goog-api-key": "offload-gateway", "Cookie": "a=b", "X-Forwarded-Host": "evil"},
             encode_chunked=True)
answer = line.getresponse()
first = answer.readline()
# The API says no more before this: the first piece has come by itself.
ask("list", url.path + "/gemini/v1beta/models", "GET")
print(json.dumps([first.decode(), answer.read().decode().count("two")]))
"""
    prices = {"input": 2, "output": 10, "cached": 1}
    listed, streamed = run(root, api, code, prices=prices)
    assert listed[:2] == ["list", 200]
    assert "one" in streamed[0]
    assert streamed[1] == 1
    assert "none" in root.log("agent").splitlines()
    calls = {event["model"]: event for event in root.kinds("model_call")}
    good = calls["good"]
    assert (good["input"], good["output"], good["cached"], good["estimated"]) == (10, 7, 4, False)
    assert (good["task"], good["api"], good["status"], good["error"]) == ("agent", "gemini", 200, "")
    assert good["dollars"] == pytest.approx((6 * 2 + 4 * 1 + 7 * 10) / 1e6)
    assert [p for p in root.path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()] == []


def test_limits_and_faults_reach_the_agent_and_the_journal(root: RunnerRoot, api: StrictApi) -> None:
    modes = ["limited", "later", "overloaded", "moved", "garbage", "cut", "hangup"]
    before = datetime.now(UTC)
    said = {line[0]: line for line in run(root, api, f"for mode in {modes}: ask(mode)")}
    assert [said[mode][1] for mode in modes] == [429, 503, 529, 502, 200, 0, 502]
    assert said["later"][3]["Retry-After"] == "120"
    assert "Location" not in said["moved"][3]
    assert "Set-Cookie" not in said["garbage"][3]
    assert "[redacted]" in said["limited"][2]
    assert said["cut"][2] == "IncompleteRead"
    limits = root.kinds("model_limit")
    assert [event["status"] for event in limits] == [429, 503, 529]
    waits = [
        event["until"] and datetime.fromisoformat(event["until"].replace("Z", "+00:00")) for event in limits
    ]
    assert waits[2] is None
    assert waits[0] >= before + timedelta(seconds=36)
    assert waits[1] >= before + timedelta(seconds=118)
    calls = {event["model"]: event for event in root.kinds("model_call")}
    assert calls["garbage"]["estimated"]
    assert calls["garbage"]["output"] == 25_000
    assert (calls["cut"]["error"], calls["cut"]["output"]) == ("cut", 3)
    assert calls["hangup"]["error"] == "no_answer"


def test_a_budget_cuts_an_endless_answer_and_refuses_the_next_call(root: RunnerRoot, api: StrictApi) -> None:
    code = 'ask("endless")\nask("later")\nask("later")\nraise SystemExit(1)'
    endless, *refused = run(root, api, code, ends=1, budget={"tokens": 500})
    assert endless[1:3] == [0, "IncompleteRead"]
    assert [line[1] for line in refused] == [403, 403]
    assert "budget" in refused[0][2]
    assert len(api.served) == 1
    (call,) = root.kinds("model_call")
    assert call["error"] == "budget"
    assert 500 <= call["input"] + call["output"] < 1000
    assert len([note for note in root.kinds("note") if "of 500 tokens" in note["text"]]) == 1
    # A runner that goes on with the job knows what was used.
    root.lines("secrets", "--session", SESSION, spec={"secrets": {"MODEL_KEY": KEY}, "for": ["run"]})
    root.run(SESSION, "--retry")
    assert len(root.kinds("task_started")) == 2
    assert len(api.served) == 1


def test_nothing_but_calls_of_models_with_the_tasks_token_is_passed_on(
    root: RunnerRoot, api: StrictApi
) -> None:
    paths = [
        "/gemini/v1beta/models/good:generateContent",
        "/wrong/gemini/v1beta/models/good:generateContent",
        "{url}/anthropic/v1/messages",
        "{url}/gemini/v1beta/files",
        "{url}/gemini/v1beta/models/../files",
        "{url}/gemini/v1beta/models/%2e%2e/files",
        "{url}/gemini//evil.example/v1beta/models/x:generateContent",
        "{url}/gemini@evil.example/v1beta/models/x:generateContent",
        "http://evil.example/gemini/v1beta/models/x:generateContent",
    ]
    code = f"""
for path in {paths}: ask("path", path.replace("{{url}}", url.path))
ask("delete", url.path + "/gemini/v1beta/models/x", "DELETE")
ask("size", headers={{"Content-Length": "99999999999"}})
ask("both", headers={{"Content-Length": "2", "Transfer-Encoding": "chunked"}})
line = connect(); line.connect(); line.sock.sendall(b"\\0" * 300000)
"""
    said = run(root, api, code)
    assert {line[1] for line in said} <= {0, 400, 403, 404, 501}, said
    assert len(said) == len(paths) + 3
    assert api.served == []
    assert root.kinds("model_call") == []


def test_counts_of_each_api_are_read_from_pieces_of_any_size() -> None:
    anthropic = (
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":3,'
        b'"output_tokens":1}}}\n\nevent: x\ndata: {"type":"message_delta","usage":{"output_tokens":9}}\n\n'
    )
    openai = (
        b'data: {"type":"response.completed","response":{"usage":{"input_tokens":8,"output_tokens":2,'
        b'"input_tokens_details":{"cached_tokens":6}}}}'
    )
    for name, text, usage in (
        ("anthropic", anthropic, Usage(8, 9, 3)),
        ("openai", openai, Usage(8, 2, 6)),
        ("openai", b'data: {"usage": {"input_tokens": -5, "output_tokens": true}}\n', Usage()),
    ):
        meter = Meter(name, True)
        for start in range(0, len(text), 7):
            meter.feed(text[start : start + 7])
        meter.finish()
        assert meter.usage == usage
    chat = Meter("openai", False)
    chat.feed(b'{"usage": {"prompt_tokens": 3, "completion_tokens": 4}}')
    chat.finish()
    assert chat.usage == Usage(3, 4)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        # As Claude Code's API tells the end of a subscription's limit: 2026-01-01 in seconds of the epoch.
        ({"anthropic-ratelimit-unified-reset": "1767225700"}, 100),
        (
            {
                "anthropic-ratelimit-unified-reset": "1767225700",
                "anthropic-ratelimit-unified-status": "allowed_warning",
            },
            None,
        ),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}, 60),
        ({"x-ratelimit-reset-requests": "1m30s", "x-ratelimit-remaining-requests": "0"}, 90),
        ({"x-ratelimit-reset-tokens": "20ms", "x-ratelimit-remaining-tokens": "7"}, None),
        ({"anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:30Z"}, 30),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "999999999"}, None),
    ],
)
def test_when_a_limit_ends(headers: dict[str, str], seconds: float | None) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert wait_seconds(headers, b"[", now) == seconds
    if not headers.get("retry-after", "x")[-1:].isdigit():
        body = {"error": {"type": "usage_limit_reached", "resets_at": int(now.timestamp()) + 3600}}
        assert wait_seconds(headers, json.dumps(body).encode(), now) == 3600


@pytest.mark.parametrize(
    "spec",
    [
        {"api": "other"},
        {"api": "gemini", "url": "http://model.example"},
        {"api": "gemini", "url": "https://user:password@model.example"},
        {"api": "gemini", "url": "https://model.example:x"},
        {"api": "gemini", "budget": {"dollars": 3}},
        {"api": "gemini", "more": 1},
        [],
    ],
)
def test_a_gateway_that_makes_no_sense_is_refused(spec: Any) -> None:
    assert problems(spec)
