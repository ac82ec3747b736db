"""No page asks another host for anything: all pages, the tour, a shared project, a frame and a presentation."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from dashboard.components.tour import STEPS
from dashboard.views.explain import presentation
from tests.e2e.steps import PAGES, PATIENCE, ask_for, button, go_to, heading, open_metal, settle, stage

LOCAL = ("data", "blob", "about")
"""Schemes that reach no host."""


class Watched:
    """A visitor's browser that remembers what it asks for, and what its pages were kept from."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.asked: list[str] = []
        self.complaints: list[str] = []
        context.on("request", lambda request: self.asked.append(request.url))

    def open(self, url: str) -> Page:
        page = self.context.new_page()
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(url)
        settle(page)
        return page


@pytest.fixture
def watched(chromium: Browser, address: str) -> Iterator[Watched]:
    """A visitor, of whom is checked in the end that they asked the server alone, and that no page wanted more."""
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        found = Watched(context)
        yield found
        own = urlsplit(address).netloc
        assert len(found.asked) > 20
        assert [url for url in found.asked if urlsplit(url).scheme not in LOCAL and urlsplit(url).netloc != own] == []
        refused = [text for text in found.complaints if "Content Security Policy" in text or "ERR_BLOCKED" in text]
        assert refused == []


def test_no_page_asks_another_host(watched: Watched, address: str) -> None:
    page = watched.open(address)
    open_metal(page)
    for title in PAGES:
        go_to(page, title)
    go_to(page, "Images")
    button(page, "Share").click()
    link = page.get_by_test_id("stCode").first
    expect(link).to_be_visible(timeout=PATIENCE)
    settle(page)
    shared = watched.open(link.inner_text().strip())
    for title in ("Results", "Explain", "Neurons", "Selection"):
        go_to(shared, title)
    with page.expect_download(timeout=PATIENCE):
        button(page, "Save the project").click()
    go_to(page, "Interventions")
    ask_for(page, "^Compute|^Measure|^Run")
    settle(page)


def test_neither_tour_nor_frame_nor_presentation_asks_another_host(watched: Watched, address: str) -> None:
    page = watched.open(address)
    button(page, "^Start the tour$").click()
    for number, step in enumerate(STEPS, start=1):
        expect(page.locator(".st-key-tour")).to_contain_text(step.question, timeout=2 * PATIENCE)
        settle(page)
        button(page, "^Next$" if number < len(STEPS) else "^Finish$").click()
    expect(page.locator(".st-key-tour")).to_have_count(0, timeout=PATIENCE)
    go_to(page, "Explain")
    expect(stage(page)).to_be_visible(timeout=PATIENCE)
    frame = watched.open(f"{page.url}&embed=1")
    expect(stage(frame)).to_be_visible(timeout=PATIENCE)
    talk = watched.open(f"{page.url}&present=1")
    for title in presentation.STEPS:
        expect(heading(talk, title)).to_be_visible(timeout=PATIENCE)
        settle(talk)
        talk.keyboard.press("ArrowRight")


def test_what_a_page_might_be_made_to_ask_for_is_refused_by_the_browser(chromium: Browser, address: str) -> None:
    """The last line of defence, were a foreign string ever read as HTML."""
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(address)
        settle(page)
        page.evaluate(
            """() => {
                window.refused = [];
                const note = (event) => window.refused.push(event.blockedURI);
                document.addEventListener("securitypolicyviolation", note);
                new Image().src = "http://evil.example/x.png";
                fetch("http://evil.example/y").catch(() => 0);
                try { new WebSocket("ws://evil.example/z"); } catch (error) {}
                const script = document.createElement("script");
                script.src = "http://evil.example/s.js";
                document.body.append(script);
                const frame = document.createElement("iframe");
                frame.src = "http://evil.example/f";
                document.body.append(frame);
            }"""
        )
        page.wait_for_function("window.refused.length >= 5", timeout=PATIENCE)
        names = sorted(urlsplit(url).path for url in page.evaluate("window.refused"))
        assert names == ["", "/s.js", "/x.png", "/y", "/z"]  # of a frame the host alone is told
