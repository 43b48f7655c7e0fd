"""A person at the terminal's page: real Chromium, real server, real tmux."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.browser.terminal_page import (
    TEXT,
    attached,
    client_sizes,
    new_context,
    on_top,
    open_terminal,
    run,
    shows,
    size,
    until,
)
from tests.support.terminal_server import TerminalServer

pytestmark = pytest.mark.browser


def test_typing_and_resizing(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    run(page, "echo hello-$((6*7))")
    shows(page, "hello-42")
    before = size(page)
    page.set_viewport_size({"width": 800, "height": 500})
    until(page, "before => { const t = document.getElementById('terminal').offload.term;"
                           " return `${t.cols}x${t.rows}` !== before }", before)  # fmt: skip
    run(page, "echo rows=$(tput lines) cols=$(tput cols)")
    columns, rows = size(page).split("x")
    shows(page, f"rows={int(rows) - 1} cols={columns}")  # tmux keeps a line for its status
    assert client_sizes(server) == [size(page)]
    assert not problems


def test_a_flood_can_be_interrupted_and_nothing_piles_up(
    context: BrowserContext, server: TerminalServer
) -> None:
    page = open_terminal(context, server)
    run(page, "yes a flood of lines")
    shows(page, "a flood of lines")
    page.wait_for_timeout(1500)  # the flood is the point
    backlog = page.evaluate("document.getElementById('terminal').offload.drawing.backlog")
    # The window is 256 KiB on a quick line and grows with the measured distance, to 1 MiB at most.
    assert backlog < 1_200_000
    page.keyboard.press("Control+c")
    page.keyboard.type("echo over-$((1+1))\n")
    shows(page, "over-2")


def test_it_comes_back_after_the_server_was_killed(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    run(page, "for i in $(seq 1 100); do echo line-$i-; done; echo be''fore")
    shows(page, "before")
    server.kill()
    banner = page.locator("#banner")
    expect(banner).to_contain_text("Offload")
    expect(page.get_by_role("button", name="Reconnect now")).to_be_visible()
    assert "line-100-" in page.evaluate(TEXT)  # the old screen stays
    page.keyboard.type("echo kept-$((2+3))\n")
    expect(banner).to_contain_text("Held until then: echo kept")
    server.start()
    attached(page, patience=60.0)  # an attempt may take 15 s, and so may the wait for the next
    expect(banner).to_be_hidden(timeout=15_000)
    # Typed while the line was down: sent by itself after a short break, asked about after a long one.
    shows(page, "kept-5")
    text = page.evaluate(TEXT)
    for number in (1, 50, 100):
        assert text.count(f"line-{number}-") == 1, text


def test_history_is_in_the_pages_own_scrollback(context: BrowserContext, server: TerminalServer) -> None:
    first = open_terminal(context, server)
    run(first, "seq -f 'row-%g-' 1 300; echo fin''ished")
    shows(first, "finished")
    page = open_terminal(context, server)
    first.close()
    until(page, "() => document.getElementById('terminal').offload.state.role === 'drive'")
    shows(page, "row-300-")
    text = page.evaluate(TEXT)
    for number in (1, 150, 300):
        assert text.count(f"row-{number}-") == 1
    page.locator("#terminal").hover()
    scrolled = "(b => b.viewportY < b.baseY)(document.getElementById('terminal').offload.term.buffer.active)"
    until(page, scrolled, again=lambda: page.mouse.wheel(0, -2000))


def test_the_wheel_goes_to_a_full_screen_program(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    (server.worktree / "long.txt").write_text("\n".join(f"text {n}" for n in range(500)))
    run(page, "vim -u NONE -c 'set mouse=a' long.txt")
    shows(page, "text 3")
    page.locator("#terminal").hover()
    page.mouse.move(300, 300)
    until(page, "document.getElementById('terminal').offload.mouse.granted")
    for _ in range(12):
        page.mouse.wheel(0, 300)
    until(page, f"() => !({TEXT})().includes('text 3\\n')")
    page.keyboard.type(":q!\n")


def test_two_viewers(chromium: Browser, context: BrowserContext, server: TerminalServer) -> None:
    driver = open_terminal(context, server)
    mine = size(driver)
    phone_context = new_context(
        chromium, server, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    phone = open_terminal(phone_context, server)
    expect(driver.locator("#viewers")).to_contain_text("1 more")
    expect(phone.locator("#viewers")).to_contain_text("You follow")
    assert size(driver) == mine
    until(
        phone,
        "mine => (t => `${t.cols}x${t.rows}` === mine)(document.getElementById('terminal').offload.term)",
        mine,
    )
    run(driver, "echo both-$((40+2))")
    shows(phone, "both-42")
    phone.get_by_role("button", name="Take over").click()
    until(phone, "document.getElementById('terminal').offload.term.options.fontSize >= 11")
    expect(driver.locator("#viewers")).to_contain_text("You follow")
    phone_context.close()
    expect(driver.locator("#viewers")).to_be_hidden(timeout=15_000)
    watcher = open_terminal(context, server, "?mode=watch")
    expect(watcher.locator("#viewers")).to_contain_text("Watching only")
    watcher.keyboard.type("echo never-$((1+1))\n")
    run(driver, "echo after-$((1+2))")
    shows(watcher, "after-3")
    assert "never-2" not in watcher.evaluate(TEXT)


def test_copying(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    run(page, "clear; printf 'see https://example.com/%s for it\\n' a/long/path/$(seq -s- 1 60)")
    on_top(page, "see https://example.com/a/")
    shows(page, "for it")
    page.get_by_label("More", exact=True).click()
    page.get_by_role("button", name="Copy last URL").click()
    url = "https://example.com/a/long/path/" + "-".join(str(n) for n in range(1, 61))
    until(page, "url => navigator.clipboard.readText().then(text => text === url)", url)
    page.evaluate("document.getElementById('terminal').offload.term.select(0, 0, 3)")
    page.locator("#terminal").press("Control+Shift+C")
    expect(page.locator("#toasts")).to_contain_text("Copied 3 characters")
    run(page, "printf '\\033]52;c;%s\\a' $(printf 'from tmux' | base64)")
    until(page, "navigator.clipboard.readText().then(text => text === 'from tmux')")


def test_a_program_cannot_read_the_clipboard(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    page.evaluate("navigator.clipboard.writeText('a secret')")
    page.evaluate("document.getElementById('terminal').offload.term.write('\\x1b]52;c;?\\x07')")
    run(page, "echo still-$((1+1))")
    shows(page, "still-2")
    assert "YSBzZWNyZXQ" not in page.evaluate(TEXT)


def test_pasting_lines_is_asked_about(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    page.evaluate("navigator.clipboard.writeText('echo pas-ted-$((1+1))\\necho two\\n')")
    page.get_by_role("button", name="Paste", exact=True).first.click()
    expect(page.locator("#paste-dialog")).to_contain_text("Paste 2 lines?")
    page.locator("#paste-dialog").get_by_role("button", name="Paste").click()
    shows(page, "pas-ted")


def test_searching(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    run(page, "seq -f 'needle-%g' 1 3; for i in $(seq 80); do echo hay; done; echo e''nd")
    shows(page, "end")
    page.keyboard.press("Control+Shift+F")
    page.get_by_label("Search the terminal").fill("needle-2")
    expect(page.locator("#finder output")).to_contain_text("1 of")
    page.keyboard.press("Escape")
    expect(page.locator("#finder")).to_be_hidden()


def test_what_rushed_past_in_a_few_bytes_is_found(context: BrowserContext, server: TerminalServer) -> None:
    """tmux draws a screen of what came at once, as short as a status line: the rest only it has."""
    page = open_terminal(context, server)
    past = "document.getElementById('terminal').offload.past"
    tty = server.tmux("display-message", "-p", "-t", f"={server.sessions[0]}:", "#{pane_tty}").strip()
    for number in range(20):
        until(page, f"async () => {{ await {past}.refill(); return {past}.fresh }}")
        Path(tty).write_text(f"rushing-{number}.\n" + "\n" * 200 + f"there-{number}.\n")
        shows(page, f"there-{number}.")
        if f"rushing-{number}." not in page.evaluate(TEXT):
            break
    else:
        pytest.fail("tmux has drawn it all: this proves nothing")
    page.keyboard.press("Control+Shift+F")
    page.get_by_label("Search the terminal").fill(f"rushing-{number}.")
    expect(page.locator("#finder output")).to_contain_text("1 of")


def test_a_phone_has_the_keys(chromium: Browser, server: TerminalServer) -> None:
    context = new_context(
        chromium, server, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    page = open_terminal(context, server)
    bar = page.locator("#keybar")
    expect(bar).to_be_visible()
    run(page, "sleep 100")
    bar.get_by_role("button", name="Ctrl").tap()
    expect(bar.get_by_role("button", name="Ctrl")).to_have_attribute("aria-pressed", "true")
    page.keyboard.type("c")
    until(page, f"() => /\\^C\\n\\S+[#$]/.test(({TEXT})())")  # bash forgets what comes before its prompt
    run(page, "echo free-$((1+1))")
    shows(page, "free-2")
    bar.get_by_role("button", name="Up", exact=True).tap()
    page.keyboard.press("Enter")
    until(page, f"() => ({TEXT})().split('free-2').length >= 3")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_files_go_in_and_come_out(context: BrowserContext, server: TerminalServer, tmp_path: Path) -> None:
    page = open_terminal(context, server)
    (tmp_path / "note.txt").write_text("from the laptop")
    page.locator("#file").set_input_files(str(tmp_path / "note.txt"))
    expect(page.locator("#toasts")).to_contain_text("note.txt is in the worktree")
    assert (server.worktree / "note.txt").read_text() == "from the laptop"
    page.get_by_label("More", exact=True).click()
    page.get_by_role("button", name="Download a file").click()
    page.get_by_label("Path inside the worktree").fill("note.txt")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    assert Path(download.value.path()).read_text() == "from the laptop"


def test_an_ended_terminal_is_attached_again_by_one_key(
    context: BrowserContext, server: TerminalServer
) -> None:
    page = open_terminal(context, server)
    shows(page, server.sessions[0])  # tmux has drawn: its client is there
    server.tmux("detach-client", "-s", f"={server.sessions[0]}")
    expect(page.locator("#banner")).to_contain_text("Exit status 0. Press Enter")
    page.locator("#terminal").click()
    page.keyboard.press("Enter")
    attached(page)
    run(page, "echo again-$((1+1))")
    shows(page, "again-2")


def test_the_side_shell_has_a_tab(context: BrowserContext, server: TerminalServer) -> None:
    page = open_terminal(context, server)
    page.get_by_role("link", name="Shell").click()
    attached(page)
    run(page, "pwd")
    shows(page, str(server.worktree))
