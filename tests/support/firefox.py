"""Firefox as Debian ships it, driven by WebDriver BiDi.

Playwright drives only a Firefox that it patched itself, and Debian has no geckodriver. Firefox speaks BiDi
(https://www.w3.org/TR/webdriver-bidi/) without either: commands as JSON over a WebSocket.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.websocket import WebSocket

PROGRAM = os.environ.get("FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
PATIENCE = 40.0
ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"
_LISTENING = "WebDriver BiDi listening on "
# Everything but this machine goes to a proxy that is not there: the browser reaches no other.
_PREFERENCES = {
    "network.proxy.type": 1,
    "network.proxy.socks": "127.0.0.1",
    "network.proxy.socks_port": 9,
    "network.proxy.no_proxies_on": "127.0.0.1, localhost",
    "datareporting.policy.dataSubmissionEnabled": False,
    "browser.aboutwelcome.enabled": False,
}
# The violations of the content policy, of every page from its beginning.
_WATCH = (
    "() => {window.violations = []; addEventListener('securitypolicyviolation', "
    "e => window.violations.push(`${e.violatedDirective}: ${e.blockedURI}`))}"
)


class Firefox:
    """One window: `open`, `evaluate`, `wait`, `click`, `type`. `errors` are those of its scripts."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._ids = 0
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        assert PROGRAM, "no Firefox: install firefox-esr, or name one in FIREFOX"
        self._profile.mkdir(parents=True)
        lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in _PREFERENCES.items())
        (self._profile / "user.js").write_text("".join(lines))
        self._log = self._profile / "stderr.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "--headless", "--no-remote", "--profile", str(self._profile),
                 "--remote-debugging-port", "0", "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "HOME": str(self._profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
            )  # fmt: skip
        self._thread.start()
        try:
            self._connect()
        except BaseException:
            self._end()
            raise
        return self

    def _connect(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while _LISTENING not in (told := self._log.read_text(errors="replace")):
            started = time.monotonic() < deadline and self._process.poll() is None
            assert started, f"Firefox did not start:\n{told}"
            time.sleep(0.05)
        address = urlsplit(told.partition(_LISTENING)[2].split()[0])
        assert address.port
        # Firefox refuses a connection that names an origin, as a page of its own would.
        connecting = WebSocket.connect(address.port, "/session", {"Origin": ""})
        self._socket = self._do(connecting)
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded"])
        self.call("script.addPreloadScript", functionDeclaration=_WATCH)
        self._context = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command; return its result. Raises `RuntimeError` for an error of Firefox."""
        return dict(self._do(self._call(method, parameters)))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._ids += 1
        self._socket.send(json.dumps({"id": self._ids, "method": method, "params": parameters}))
        while True:
            message = await self._socket.receive()
            assert isinstance(message, str), f"Firefox hung up during {method}"
            told = json.loads(message)
            if told.get("method") == "log.entryAdded" and told["params"]["level"] == "error":
                self.errors.append(str(told["params"]["text"]))
            if told.get("id") == self._ids:
                if told["type"] == "error":
                    raise RuntimeError(f"{method}: {told['error']}: {told['message']}")
                return dict(told["result"])

    def open(self, url: str) -> None:
        """Load a page and wait for its end of loading."""
        self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def resize(self, width: int, height: int) -> None:
        """Give the page a size."""
        self.call("browsingContext.setViewport", context=self._context,
                  viewport={"width": width, "height": height})  # fmt: skip

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression or promise: what JSON can say."""
        wrapped = f"Promise.resolve({script}).then((value) => JSON.stringify(value ?? null))"
        told = self.call("script.evaluate", expression=wrapped, awaitPromise=True,
                         target={"context": self._context})  # fmt: skip
        if told["type"] != "success":
            raise RuntimeError(f"{script}: {told['exceptionDetails']['text']}")
        return json.loads(told["result"]["value"])

    def wait(self, script: str) -> Any:
        """Wait until an expression is true; return its value. A page that just goes away is no answer."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if value := self.evaluate(script):
                    return value
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, f"never true: {script}\n{self.text()}"
            time.sleep(0.05)

    def text(self) -> str:
        """Return the page's text."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, selector: str) -> None:
        """Press the mouse's button on an element."""
        place = self.evaluate(
            f"(e => {{e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f"return [r.x + r.width / 2, r.y + r.height / 2]}})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        x, y = (round(value) for value in place)
        steps = [{"type": "pointerMove", "x": x, "y": y}, {"type": "pointerDown", "button": 0},
                 {"type": "pointerUp", "button": 0}]  # fmt: skip
        self._act({"type": "pointer", "id": "mouse", "actions": steps})

    def type(self, text: str) -> None:
        """Press keys: characters, `ENTER`, `ESCAPE`, `TAB`."""
        steps = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keyboard", "actions": steps})

    def _act(self, source: dict[str, Any]) -> None:
        self.call("input.performActions", context=self._context, actions=[source])

    def __exit__(self, *_: object) -> None:
        try:
            self.call("browser.close")
        finally:
            self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@contextmanager
def firefox(profile: Path) -> Iterator[Firefox]:
    """Run Firefox for the length of a block; its scripts' errors and the policy's violations end the test."""
    with Firefox(profile) as browser:
        yield browser
        assert browser.evaluate("window.violations") == []
        assert browser.errors == [], browser.errors
