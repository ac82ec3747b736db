"""Images brought while others are open, and images from the clipboard, in a real browser."""

import base64
import re

from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenTab
from tests.e2e.steps import PATIENCE, button, choice, go_to, heading, query, settle
from tests.e2e.test_walk import METAL, upload

PASTE = """([encoded, name]) => {
    const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, {type: "image/png"}));
    document.activeElement.dispatchEvent(
        new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
}"""


def paste(page: Page, content: bytes) -> None:
    """Pastes an image into the field for it, as a browser does, and sends it off."""
    field = page.get_by_placeholder(re.compile("paste"))
    field.click()
    page.evaluate(PASTE, [base64.b64encode(content).decode(), "image.png"])
    expect(page.get_by_text("image.png")).to_be_visible(timeout=PATIENCE)
    settle(page)
    field.press("Enter")


def test_a_pasted_image_is_added_and_a_pasted_text_is_not(open_tab: OpenTab) -> None:
    page = open_tab()
    choice(page, "Clipboard").click()
    settle(page)
    paste(page, (METAL / "test" / "scratch" / "000.jpg").read_bytes())
    expect(heading(page, "Test images (1)")).to_be_visible(timeout=PATIENCE)
    settle(page)
    field = page.get_by_placeholder(re.compile("paste"))
    field.fill("https://example.org/image.png")
    field.press("Enter")
    expect(page.get_by_text("That was text, not an image")).to_be_visible(timeout=PATIENCE)
    expect(heading(page, "Test images (1)")).to_be_visible()


def test_the_question_outlives_a_reload_and_each_window_answers_for_itself(open_tab: OpenTab) -> None:
    first = open_tab()
    button(first, "Open gravel").click()
    expect(heading(first, "Explain")).to_be_visible(timeout=PATIENCE)
    go_to(first, "Images")
    upload(first, "Test images", [METAL / "test" / "scratch" / "000.jpg"])
    asked = re.compile(r"Replace the sample gravel .* by your 1 test image, or add yours to it\?")
    expect(first.get_by_text(asked)).to_be_visible(timeout=PATIENCE)
    settle(first)
    number = query(first)["w"]
    first.reload()
    expect(first.get_by_text(asked)).to_be_visible(timeout=PATIENCE)
    assert query(first)["w"] == number
    second = open_tab(f"?w={number}")
    expect(second.get_by_text(asked)).to_be_visible(timeout=PATIENCE)
    button(second, "^.*Replace$").click()
    expect(heading(second, "Test images (1)")).to_be_visible(timeout=PATIENCE)
    expect(heading(second, "Normal images (0)")).to_be_visible()
    first.reload()
    expect(first.get_by_text(asked)).to_be_visible(timeout=PATIENCE)
    settle(first)
