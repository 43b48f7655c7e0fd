"""What makes the terminal's page pleasant: what it draws, how it calls, what it takes."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from tests.browser.terminal_page import (
    SIZE,
    TEXT,
    attached,
    new_context,
    offload,
    on_top,
    open_terminal,
    run,
    shows,
    size,
    until,
    write,
)
from tests.support.terminal_server import TerminalServer

pytestmark = pytest.mark.browser
SESSIONS = 16
# This machine (see the browser's arguments), by a name that is not trusted like loopback.
NAMED = "offload.test"
# The y-th line of the screen.
LINE = "offload.term.buffer.active.getLine(offload.term.buffer.active.baseY + y)"
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def server() -> Iterator[TerminalServer]:
    with TerminalServer(sessions=SESSIONS, env={"OFFLOAD_ALLOWED_HOSTS": NAMED}) as running:
        yield running


@pytest.fixture(scope="module")
def jobs() -> Iterator[int]:
    return count()


@pytest.fixture
def page(context: BrowserContext, server: TerminalServer, jobs: Iterator[int]) -> Page:
    """A page on a session of its own."""
    page = open_terminal(context, server, job=next(jobs) % SESSIONS)
    shows(page, "offload-shop-")  # tmux has drawn: what a test draws stays
    return page


def worktree_of(page: Page, server: TerminalServer) -> Path:
    """Return the worktree of the job whose terminal a page shows."""
    number = int(page.url.partition("/terminals/")[2].partition("/")[0])
    return server.root / "worktrees" / server.sessions[server.jobs.index(number)]


def test_a_lost_graphics_context_leaves_the_text(page: Page) -> None:
    run(page, "echo dra''wn")
    shows(page, "drawn")
    assert offload(page, "offload.screen.renderer") == "webgl"
    offload(
        page,
        "[...document.querySelectorAll('#terminal canvas')].map(canvas => canvas.getContext('webgl2'))"
        ".filter(Boolean).map(gl => gl.getExtension('WEBGL_lose_context').loseContext()).length",
    )
    until(page, "() => document.getElementById('terminal').offload.screen.renderer === 'dom'")
    until(page, "() => document.querySelector('.xterm-rows').textContent.includes('drawn')")
    assert offload(page, "offload.screen.contextLosses") == 1


def test_wide_and_composed_letters_take_their_cells(page: Page) -> None:
    run(page, "clear; printf '漢字|\\n🙂|\\n'; echo wi''de")
    shows(page, "wide")
    column = "row => { for (let x = 0; x < 9; x++) if (row.getCell(x).getChars() === '|') return x }"
    rows = offload(page, f"[0, 1].map(y => ({column})({LINE}))")
    assert rows == [4, 2]
    write(page, "\x1bc👩‍👩‍👧|")  # tmux of today splits a family; the page itself must not
    assert offload(page, f"[0].map(y => ({column})({LINE}))") == [2]


def test_true_colour_comes_through_tmux(page: Page) -> None:
    run(page, "clear; printf '\\033[38;2;17;34;51mX\\033[0m\\n'; echo co''lour")
    shows(page, "colour")
    cells = f"[0].map(y => ({LINE}).getCell(0)).map(cell => [cell.isFgRGB(), cell.getFgColor()])"
    assert offload(page, cells) == [[True, 0x112233]]


def test_an_image_is_drawn(page: Page) -> None:
    size = len(base64.b64decode(DOT))
    write(page, f"\x1b]1337;File=inline=1;size={size};width=4;height=2:{DOT}\x07")
    until(page, "() => Boolean(document.querySelector('.xterm-image-layer'))")


def test_a_link_of_a_program_opens_only_the_web(page: Page, context: BrowserContext) -> None:
    context.route("https://example.com/**", lambda route: route.fulfill(body="there"))
    write(page, "\x1bc\x1b]8;;https://example.com/there\x07safe link\x1b]8;;\x07\r\n")
    write(page, "\x1b]8;;javascript:document.title='owned'\x07evil link\x1b]8;;\x07\r\n")
    click_text(page, "evil link")
    with context.expect_page() as opened:
        click_text(page, "safe link")
    assert opened.value.url == "https://example.com/there"
    assert len(context.pages) == 2
    assert "owned" not in page.title()


def click_text(page: Page, text: str) -> None:
    """Click on the first place where the screen shows a text."""
    spot = offload(
        page,
        "(() => { const b = offload.term.buffer.active, box = document.querySelector('.xterm-screen')"
        ".getBoundingClientRect(); for (let y = 0; y < offload.term.rows; y++) {"
        " const x = b.getLine(b.viewportY + y).translateToString(true).indexOf(arg);"
        " if (x >= 0) return [box.x + (x + 2.5) * box.width / offload.term.cols,"
        " box.y + (y + .5) * box.height / offload.term.rows] } })()",
        text,
    )
    page.mouse.move(spot[0] - 3, spot[1])
    page.mouse.move(spot[0], spot[1])
    page.wait_for_timeout(150)  # links are looked for after the mouse has rested
    page.mouse.click(spot[0], spot[1])


def test_a_place_in_a_file_is_a_link(page: Page, server: TerminalServer) -> None:
    text = "at src/app.py:12:3, ./a.rs:7; not http://a.b/c.py:9 or 12:30"
    found = offload(page, "(await import('/static/terminals/places.js')).places(arg).map(p => p.place)", text)
    assert found == ["src/app.py:12:3", "./a.rs:7"]
    (worktree_of(page, server) / "place.txt").write_text("it is here")
    run(page, "clear; echo see 漢 place.txt:3 now")
    on_top(page, "see 漢 place.txt:3 now")
    click_text(page, "place.txt:3")
    with page.expect_download() as download:
        page.locator("#toasts").get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_text() == "it is here"
    assert page.evaluate("navigator.clipboard.readText()") == "place.txt:3"


def test_the_clipboard_of_tmux_and_its_limit(page: Page) -> None:
    write(page, f"\x1b]52;;{base64.b64encode('ünder'.encode()).decode()}\x07")  # tmux names no target
    until(page, "navigator.clipboard.readText().then(text => text === 'ünder')")
    write(page, f"\x1b]52;c;{base64.b64encode(b'x' * 1_100_000).decode()}\x07")
    expect(page.locator("#toasts")).to_contain_text("refused")
    assert page.evaluate("navigator.clipboard.readText()") == "ünder"


def test_a_machine_that_stops_soon_is_named_with_its_reason(page: Page) -> None:
    chip = page.locator("#ending")
    expect(chip).to_be_hidden()
    tell = """parts => document.getElementById("terminal").offload.link.dispatchEvent(
      new CustomEvent("control", {detail: {t: "ending", parts}}))"""
    at = page.evaluate("Math.floor(new Date(2026, 2, 4, 17, 5) / 1000)")
    page.evaluate(tell, ["Stops at ", at, " because its longest run time is used up then."])
    expect(chip).to_have_text(re.compile(r"^Stops at 0?(5:05.PM|17:05)$"))
    expect(chip).to_have_attribute("title", re.compile("because its longest run time"))
    expect(page.locator("#toasts")).to_contain_text("what runs is interrupted")
    page.evaluate(tell, [])
    expect(chip).to_be_hidden()


NOTES = """() => { window.notes = []; document.hasFocus = () => false;
  window.Notification = class { static permission = "granted"; constructor(title, options) {
    window.notes.push(options.body) } } }"""


def test_it_calls_when_nobody_looks(page: Page, server: TerminalServer) -> None:
    page.evaluate(NOTES)
    run(page, "sleep 0.1; printf '\\a'")
    until(page, "document.title.startsWith('(!)')")
    assert page.evaluate("document.querySelector('link[rel~=icon]').href").startswith("data:image/png")
    assert page.evaluate("notes") == ["The terminal rang."]
    page.evaluate("dispatchEvent(new Event('focus'))")
    until(page, "!document.title.startsWith('(!)')")


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ("9;build is done", "build is done"),
        ("777;notify;Tests;2 failed", "Tests: 2 failed"),
        ("9;4;1;50", None),
    ],
)
def test_a_program_notifies(page: Page, said: str, note: str | None) -> None:
    page.evaluate(NOTES)
    write(page, f"\x1b]{said}\x07")
    assert page.evaluate("notes") == ([note] if note else [])


def test_a_screen_reader_has_the_text(page: Page) -> None:
    page.get_by_label("More", exact=True).click()
    page.get_by_role("switch", name="Screen reader mode").click()
    run(page, "echo read-$((1+1))")
    until(page, "() => document.querySelector('.xterm-accessibility')?.textContent.includes('read-2')")
    page.reload()
    attached(page)  # the choice is kept
    until(page, "() => Boolean(document.querySelector('.xterm-accessibility'))")


def test_composed_input_arrives_once(page: Page) -> None:
    page.locator("#terminal").click()
    page.keyboard.type("echo in-")
    keyboard = page.context.new_cdp_session(page)
    for text in ("に", "にほ", "日本"):
        keyboard.send(
            "Input.imeSetComposition", {"text": text, "selectionStart": 0, "selectionEnd": len(text)}
        )
    keyboard.send("Input.insertText", {"text": "日本"})
    until(page, f"() => ({TEXT})().includes('in-日本')")
    page.keyboard.type("-out\n")
    until(page, f"() => ({TEXT})().split('in-日本-out').length === 3")  # typed and printed, nothing twice
    assert "にほ" not in page.evaluate(TEXT)


def test_the_mouse_buttons(page: Page) -> None:
    run(page, "clear; echo some words")
    offload(page, "offload.term.select(0, arg, 4)", on_top(page, "some words"))
    page.mouse.click(300, 300, button="right")
    assert offload(page, "offload.term.getSelection()") == "some"  # for the browser's own menu
    assert page.evaluate("document.activeElement.classList.contains('xterm-helper-textarea')")
    assert page.evaluate("document.activeElement.value") == "some"


def test_the_middle_button_pastes_what_is_selected(page: Page) -> None:
    run(page, "clear; echo 'echo mid-$((1+1))'")
    offload(page, "offload.term.select(0, arg, 17)", on_top(page, "echo mid-"))
    page.mouse.click(300, 300, button="right")  # selects it in a text field: the browser's primary selection
    page.mouse.click(300, 300, button="middle")
    pasted = "line => line !== 'echo mid-$((1+1))' && line.endsWith('echo mid-$((1+1))')"  # at the prompt
    until(page, f"() => ({TEXT})().split('\\n').some({pasted})")
    page.keyboard.press("Enter")
    shows(page, "mid-2")


def test_files_can_be_dropped(page: Page, server: TerminalServer) -> None:
    drag = (
        "kind => { window.dragged ??= new DataTransfer(); if (!dragged.files.length)"
        " dragged.items.add(new File(['dropped in'], 'drop me.txt'));"
        " document.getElementById('terminal').dispatchEvent("
        "new DragEvent(kind, {dataTransfer: dragged, bubbles: true, cancelable: true})) }"
    )
    page.evaluate(drag, "dragenter")
    assert page.evaluate("document.getElementById('terminal').classList.contains('drop')")
    page.evaluate(drag, "drop")
    expect(page.locator("#toasts")).to_contain_text("drop me.txt is in the worktree")
    assert (worktree_of(page, server) / "drop me.txt").read_text() == "dropped in"
    page.get_by_role("button", name="Insert name").click()
    shows(page, "'drop me.txt'")
    page.locator("#terminal").press("Control+c")  # the next test has a prompt of its own


def test_ctrl_w_asks_before_the_tab_closes(page: Page) -> None:
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.locator("#terminal").click()
    page.keyboard.down("Control")
    with page.expect_event("dialog"):
        page.close(run_before_unload=True)
    assert asked == ["beforeunload"]
    page.keyboard.up("Control")
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert len(asked) == 1


def test_fingers(chromium: Browser, server: TerminalServer, jobs: Iterator[int]) -> None:
    context = new_context(
        chromium, server, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    page = open_terminal(context, server, job=next(jobs) % SESSIONS)
    run(page, "clear; echo long-press-me")
    on_top(page, "long-press-me")
    fingers = context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]}
        )

    box = page.locator(".xterm-screen").bounding_box()
    assert box
    touch("touchStart", (box["x"] + 9, box["y"] + 2))  # a whole wide session on a phone: small letters
    until(page, "() => document.getElementById('terminal').offload.term.getSelection() === 'long-press-me'")
    touch("touchEnd")
    before = offload(page, "offload.screen.preferences.fontSize")
    touch("touchStart", (150, 300), (200, 300))
    for step in range(1, 6):
        touch("touchMove", (150 - 15 * step, 300), (200 + 15 * step, 300))
    touch("touchEnd")
    assert offload(page, "offload.screen.preferences.fontSize") > before
    context.close()


def test_a_played_phone_sees_the_text(chromium: Browser, server: TerminalServer) -> None:
    """Emulated pixels are counted in two ways, which WebGL cannot know."""
    context = new_context(chromium, server, viewport={"width": 390, "height": 800}, device_scale_factor=2)
    page = open_terminal(context, server)
    until(page, "() => document.getElementById('terminal').offload.screen.renderer === 'dom'")
    run(page, "clear; echo seen-$((40+2))")
    shows(page, "seen-42")
    expect(page.locator(".xterm-rows")).to_contain_text("seen-42")
    context.close()


def test_full_screen_and_back(page: Page) -> None:
    before = size(page)
    button = page.locator("button.wide[data-action=fullscreen]")
    button.click()
    until(page, "() => document.fullscreenElement === document.documentElement")
    run(page, "echo still-$((1+1))")
    shows(page, "still-2")
    button.click()
    until(page, "() => document.fullscreenElement === null")
    until(page, f"size => {SIZE} === size", before)


def test_copying_on_plain_http(chromium: Browser, server: TerminalServer) -> None:
    context = new_context(chromium, server)
    url = f"http://{NAMED}:{server.port}{server.prefix}"
    context.add_cookies([{"name": server.cookie_name, "value": server.cookies["local"], "url": url}])
    page = context.new_page()
    page.goto(f"{url}/terminals/{server.jobs[0]}/")
    attached(page)
    assert page.evaluate("window.isSecureContext") is False
    run(page, "echo copied-$((1+1))")
    shows(page, "copied-2")
    offload(page, "offload.term.selectAll()")
    page.locator("#terminal").press("Control+Shift+C")
    expect(page.locator("#toasts")).to_contain_text("Copied")
    assert "copied-2" in clipboard(context, server)
    page.goto(f"{url}/jobs/{server.jobs[0]}/")
    button = page.locator("[data-copy]").first
    button.click()
    expect(page.locator("#announce")).to_have_text("Copied.")
    assert clipboard(context, server) == button.get_attribute("data-copy")
    context.close()


def test_a_copy_that_nobody_asked_for_waits_for_a_click(chromium: Browser, server: TerminalServer) -> None:
    """Without a key or a click before it, the page does not take the focus to try what is refused."""
    context = new_context(chromium, server)
    url = f"http://{NAMED}:{server.port}{server.prefix}"
    context.add_cookies([{"name": server.cookie_name, "value": server.cookies["local"], "url": url}])
    page = context.new_page()
    # The browser's own word for it ends five seconds after a key; the keys of this test are newer.
    page.add_init_script("Object.defineProperty(navigator, 'userActivation', {value: {isActive: false}})")
    page.goto(f"{url}/terminals/{server.jobs[0]}/")
    attached(page)
    offload(page, "offload.term.focus()")
    page.evaluate("window.left = 0; document.addEventListener('focusout', () => { window.left += 1; }, true)")
    text = base64.b64encode(b"from a program").decode()
    write(page, f"\x1b]52;c;{text}\x07")
    expect(page.locator("#toasts")).to_contain_text("ready to copy")
    assert page.evaluate("window.left") == 0
    page.locator("#toasts").get_by_role("button", name="Copy").click()
    expect(page.locator("#toasts")).to_contain_text("Copied")
    assert clipboard(context, server) == "from a program"
    context.close()


def clipboard(context: BrowserContext, server: TerminalServer) -> str:
    """Return what is on the clipboard, by a page that may read it."""
    page = context.new_page()
    page.goto(server.url)
    text = str(page.evaluate("navigator.clipboard.readText()"))
    page.close()
    return text
