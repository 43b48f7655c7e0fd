"""An agent that uses the gateway to reach more than its model, or more of it than its budget."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.remote.offload_runner.gateway.reach import outside
from tests.runner.test_gateway import run
from tests.support.runner_root import RunnerRoot
from tests.support.strict_model_api import strict_api

EVIL = "https://evil.example/?q=what-was-read"
FUNCTION = {"name": "read", "input_schema": {"properties": {"server_url": {"type": "url", "url": EVIL}}}}
USED = {
    "type": "tool_use",
    "id": "1",
    "name": "get",
    "input": {"type": "url", "url": EVIL, "image_url": EVIL},
}
REACHING: list[tuple[str, Any]] = [
    ("anthropic", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("anthropic", {"tools": [FUNCTION, {"type": "web_fetch_20250910", "name": "web_fetch"}]}),
    ("anthropic", {"tools": [{"type": "code_execution_20250825"}]}),
    ("anthropic", {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}),
    ("anthropic", {"tools": {"type": "web_fetch_20250910"}}),
    ("anthropic", {"tools": [{"type": ["custom"]}]}),
    ("anthropic", {"mcp_servers": [{"type": "url", "url": EVIL, "name": "x"}]}),
    ("anthropic", {"messages": [{"content": [{"type": "image", "source": {"type": "url", "url": EVIL}}]}]}),
    ("anthropic", {"messages": [{"content": [{"type": "text", "input": {"type": "url", "url": EVIL}}]}]}),
    ("gemini", {"tools": [{"googleSearch": {}}]}),
    ("gemini", {"tools": [{"functionDeclarations": [], "url_context": {}}]}),
    ("gemini", {"Tools": [{"codeExecution": {}}]}),
    ("gemini", {"tools": {"google_search": {}}}),
    ("gemini", {"contents": [{"parts": [{"fileData": {"fileUri": EVIL}}]}]}),
    ("gemini", {"contents": [{"parts": [{"file_data": {"file_uri": EVIL}}]}]}),
    ("openai", {"tools": [{"type": "web_search"}]}),
    ("openai", {"tools": [{"type": "mcp", "server_url": EVIL}]}),
    ("openai", {"tools": [{"type": "code_interpreter"}]}),
    ("openai", {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}),
    ("openai", {"tools": [{"type": "namespace", "tools": [{"type": "function"}, {"type": "mcp"}]}]}),
    ("openai", {"web_search_options": {"x": 1}}),
    ("openai", {"input": [{"content": [{"type": "input_image", "image_url": EVIL}]}]}),
    ("openai", {"messages": [{"content": [{"type": "image_url", "image_url": {"url": EVIL}}]}]}),
    ("openai", {"input": [{"content": [{"type": "input_file", "file_url": EVIL}]}]}),
]
HARMLESS: list[tuple[str, Any]] = [
    ("anthropic", {"tools": [FUNCTION, {"type": "custom", "name": "x"}, {"type": "bash_20250124"}]}),
    ("anthropic", {"messages": [{"content": [USED, {"type": "text", "text": EVIL}]}], "mcp_servers": []}),
    ("gemini", {"tools": [{"functionDeclarations": [FUNCTION]}]}),
    ("gemini", {"contents": [{"parts": [{"functionCall": {"name": "x", "args": {"file_uri": EVIL}}}]}]}),
    ("openai", {"tools": [{"type": "namespace", "tools": [{"type": "function"}]}]}),
    ("openai", {"tools": [{"type": "function", "function": FUNCTION}, {"type": "local_shell"}]}),
    ("openai", {"input": [{"content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]}]}),
    ("openai", {"input": [{"type": "function_call", "arguments": json.dumps({"server_url": EVIL})}]}),
]
ODD = [
    b'{"tools": [], "tools": [{"googleSearch": {}}]}', b"[]", b"", b"x", b"\xff\xfe{\0}\0", b"[" * 100_000,
    b'{"a": NaN}', b'{"tools": "googleSearch"}', b'\xef\xbb\xbf{}',
]  # fmt: skip


@pytest.mark.parametrize(("api", "call"), REACHING)
def test_a_call_that_has_the_api_reach_elsewhere_is_found(api: str, call: Any) -> None:
    assert outside(api, json.dumps({"model": "x", **call}).encode())


@pytest.mark.parametrize(("api", "call"), HARMLESS)
def test_what_the_agent_does_itself_is_passed_on(api: str, call: Any) -> None:
    assert outside(api, json.dumps({"model": "x", **call}).encode()) == ""


@pytest.mark.parametrize("body", ODD)
def test_a_body_that_may_be_read_in_two_ways_is_not_passed_on(body: bytes) -> None:
    assert outside("gemini", body)


def test_a_task_reaches_its_model_and_no_other_host_by_way_of_it(root: RunnerRoot) -> None:
    code = """
for body in (b'{"tools": [{"googleSearch": {}}]}', b'{"contents": [], "tools": [{"urlContext": {}}]}', b"x"):
    ask("later", body=body)
ask("later", body=b'{"tools": [{"functionDeclarations": []}]}')
"""
    with strict_api() as api:
        said = run(root, api, code)
        assert [line[1] for line in said] == [403, 403, 403, 503]
        assert "reach elsewhere: the tool googleSearch" in said[0][2]
        assert len(api.served) == 1


def test_calls_at_the_same_time_do_not_pass_the_budget(root: RunnerRoot) -> None:
    code = r"""
import threading
begun = threading.Barrier(5)
def call():
    line = connect()
    path = "%s/gemini/v1beta/models/good:streamGenerateContent?alt=sse" % url.path
    line.request("POST", path, json.dumps({"contents": ["x" * 4000]}))
    answer = line.getresponse()
    begun.wait(60)
    answer.read()
    print(json.dumps([answer.status]))
threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads: thread.start()
begun.wait(60)
ask("list", url.path + "/gemini/v1beta/models", "GET")
for thread in threads: thread.join()
"""
    with strict_api() as api:
        said = run(root, api, code, budget={"tokens": 500})
        assert sorted(line[0] for line in said if len(line) == 1) == [200, 403, 403, 403]
        assert len([path for path in api.served if "good" in path]) == 1
