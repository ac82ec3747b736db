"""Saved, killed, opened again; shared while the work goes on: in a real browser, with a real server that dies."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from lake_core.projects.store import WAITING
from tests.core.projects.cases import with_manifest
from tests.e2e.conftest import METAL
from tests.e2e.server import PATIENCE_S, dashboard_command, free_port, start_server
from tests.e2e.steps import PATIENCE, bring, button, go_to, heading, open_metal, query, run, settle, upload

CARD = re.compile(r"\d+\.\d\d ")
"""How the text of a card on the page Results begins."""


class Server:
    """A dashboard that can be killed and started again at the same address, with the same store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> None:
        self.process = start_server(dashboard_command(self.port, *arguments), self.port, self.folder / "dashboard.log")

    def kill(self) -> None:
        """As the kernel does: nothing is said, nothing is written."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def stop(self) -> int:
        """As who operates it does, or the system when it shuts down; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def wait_for(self, is_kept: Callable[[str], bool]) -> None:
        """Until the store has a session of which that is true; images that wait for an answer are none."""
        end = time.monotonic() + 40
        while time.monotonic() < end:
            kept = (self.folder / "store" / "sessions").glob("*.json")
            if any(is_kept(path.read_text()) for path in kept if not path.stem.endswith(WAITING)):
                return
            time.sleep(0.2)
        raise AssertionError("the session was not kept")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    found.start()
    yield found
    found.kill()


@contextmanager
def tab(chromium: Browser, url: str) -> Iterator[Page]:
    """A tab of another visitor."""
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.goto(url)
        settle(page)
        yield page


def scores(page: Page) -> list[str]:
    """What the page Results says: its numbers, and each card's score and verdict."""
    go_to(page, "Results")
    said = page.get_by_test_id("stMetricValue").all_inner_texts()
    cards = [text for text in page.get_by_test_id("stMarkdownContainer").all_inner_texts() if CARD.match(text)]
    assert len(said) == 6
    assert len(cards) == 16
    return said + cards


def shared_link(page: Page) -> str:
    go_to(page, "Images")
    button(page, "Share").click()
    link = page.get_by_test_id("stCode").first
    expect(link).to_be_visible(timeout=PATIENCE)
    settle(page)
    return link.inner_text().strip()


def open_beside_metal(page: Page, project: Path) -> str:
    """Gives a project file to a session that has a sample; returns that session's number."""
    open_metal(page)
    go_to(page, "Images")
    number = query(page)["w"]
    page.get_by_text("Open another project").click()
    settle(page)
    upload(page, "Open a project", [project])
    return number


def test_a_reload_after_the_server_was_killed_finds_the_session_again(chromium: Browser, server: Server) -> None:
    with tab(chromium, server.address) as page:
        open_metal(page)
        go_to(page, "Images")
        upload(page, "Test images", [METAL / "train" / "good" / "004.jpg"])
        button(page, "^.*Add$").click()
        expect(page.get_by_text(re.compile("yours to it"))).to_have_count(0, timeout=PATIENCE)
        settle(page)
        before, number = scores(page), query(page)["w"]
        assert len(number) == 22
        server.wait_for(lambda manifest: '"name": "004.jpg"' in manifest)
        server.kill()
        server.start()
        page.goto(page.url)
        settle(page)
        assert query(page)["w"] == number
        assert scores(page) == before


def test_a_server_killed_while_the_network_runs_finds_the_images_and_runs_it_again(
    chromium: Browser, server: Server
) -> None:
    normals, tests = sorted((METAL / "train" / "good").iterdir()), sorted((METAL / "test").glob("*/*"))
    with tab(chromium, server.address) as page:
        bring(page, normals, tests)
        server.wait_for(lambda manifest: manifest.count('"sha256"') == len(normals) + len(tests))
        button(page, "Run on").click()
        button(page, "Cancel").wait_for(timeout=1000 * PATIENCE_S)
        server.kill()
        server.start()
        page.goto(page.url)
        settle(page)
        run(page, len(normals) + len(tests))
        expect(page.get_by_text(CARD)).to_have_count(16)  # the first page of them


def test_a_server_that_is_stopped_while_it_evaluates_ends_and_finds_the_session_again(
    chromium: Browser, server: Server
) -> None:
    with tab(chromium, server.address) as page:
        open_metal(page)
        before = scores(page)
        go_to(page, "Evaluate")
        page.get_by_role("spinbutton", name="Random seeds").fill("10")
        page.get_by_role("spinbutton", name="Random seeds").press("Enter")
        settle(page)
        button(page, "^Evaluate$").click()
        button(page, "Cancel").wait_for(timeout=1000 * PATIENCE_S)
        assert server.stop() == 0
        server.start()
        page.goto(page.url)
        settle(page)
        expect(button(page, "^Evaluate$")).to_be_visible()
        assert scores(page) == before


def test_a_heavy_project_is_opened_beside_the_page_which_goes_on(
    chromium: Browser, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "evil.lake").write_bytes(with_manifest(lambda manifest: manifest.update(normals=[1] * 1_600_000)))
    with tab(chromium, server.address) as page:
        number = open_beside_metal(page, tmp_path / "evil.lake")
        expect(page.get_by_text("Opening the project: begun")).to_be_visible(timeout=PATIENCE)
        go_to(page, "Results")
        go_to(page, "Images")
        # which of the limits it comes to first depends on the machine
        refused = re.compile(r"evil\.lake (has a damaged manifest|takes more than|needs more|ended)")
        expect(page.get_by_text(refused)).to_be_visible(timeout=PATIENCE)
        assert query(page)["w"] == number


def test_a_saved_project_opened_after_a_restart_has_the_same_numbers(
    chromium: Browser, server: Server, tmp_path: Path
) -> None:
    with tab(chromium, server.address) as page:
        open_metal(page)
        before = scores(page)
        go_to(page, "Images")
        with page.expect_download(timeout=PATIENCE) as download:
            button(page, "Save the project").click()
        saved = tmp_path / "metal.lake"
        download.value.save_as(saved)
    server.kill()
    server.start()
    with tab(chromium, server.address) as page:
        upload(page, "Open a project", [saved])
        expect(heading(page, "Normal images (8)")).to_be_visible(timeout=PATIENCE)
        settle(page)
        assert scores(page) == before
        go_to(page, "Images")
        agrees = page.get_by_text(re.compile(r"All \d+ numbers agree to 0\.0001"))
        expect(agrees.first).to_be_visible(timeout=PATIENCE)


def test_a_shared_project_does_not_move_while_its_maker_goes_on(chromium: Browser, server: Server) -> None:
    with tab(chromium, server.address) as maker:
        open_metal(maker)
        before = scores(maker)
        link = shared_link(maker)
        assert re.fullmatch(rf"{server.address}/[a-z]*\?project=[\w-]{{22}}", link)
        with tab(chromium, link) as other:
            assert scores(other) == before
            maker.get_by_role("button", name="Remove", exact=True).first.click()
            expect(heading(maker, "Normal images (7)")).to_be_visible(timeout=PATIENCE)
            settle(maker)
            other.reload()
            settle(other)
            assert scores(other) == before
            go_to(other, "Images")
            expect(heading(other, "Normal images (8)")).to_be_visible()
            expect(other.get_by_role("button", name="Remove", exact=True).first).to_be_disabled()
            expect(button(other, "^Share$")).to_have_count(0)
            button(other, "Make a copy").click()
            expect(other.get_by_role("button", name="Remove", exact=True).first).to_be_enabled(timeout=PATIENCE)
            settle(other)
            assert "project" not in query(other)
            assert query(other)["w"] != query(maker)["w"]
        server.kill()
        server.start("--sample", "gravel")
        with tab(chromium, link) as later:
            assert scores(later) == before


def test_an_address_opened_elsewhere_while_it_is_open_gives_a_copy(chromium: Browser, server: Server) -> None:
    with tab(chromium, server.address) as first:
        open_metal(first)
        go_to(first, "Images")
        with tab(chromium, first.url) as second:
            expect(second.get_by_text(re.compile("has a copy of its own"))).to_be_visible(timeout=PATIENCE)
            assert query(second)["w"] != query(first)["w"]
            second.get_by_role("button", name="Remove", exact=True).first.click()
            expect(heading(second, "Normal images (7)")).to_be_visible(timeout=PATIENCE)
        first.reload()
        settle(first)
        expect(heading(first, "Normal images (8)")).to_be_visible(timeout=PATIENCE)
        expect(first.get_by_text(re.compile("has a copy of its own"))).to_have_count(0)


def test_a_hostile_project_changes_nothing(chromium: Browser, server: Server, tmp_path: Path) -> None:
    (tmp_path / "evil.lake").write_bytes((METAL / "test" / "good" / "000.jpg").read_bytes())
    with tab(chromium, server.address) as page:
        number = open_beside_metal(page, tmp_path / "evil.lake")
        expect(page.get_by_text("evil.lake is not a ZIP archive")).to_be_visible(timeout=PATIENCE)
        expect(heading(page, "Normal images (8)")).to_be_visible()
        assert query(page)["w"] == number


def test_notes_on_neurons_are_kept_in_a_shared_project(chromium: Browser, server: Server) -> None:
    with tab(chromium, server.address) as page:
        open_metal(page)
        go_to(page, "Neurons")
        button(page, "Pin this neuron").click()
        note = page.get_by_label("Note", exact=True)
        expect(note).to_be_visible(timeout=PATIENCE)
        settle(page)
        note.fill("Bright *edges*")
        note.press("Control+Enter")
        settle(page)
        name = page.get_by_label("Name of this list")
        name.fill("Scratches")
        name.press("Enter")
        settle(page)
        link = shared_link(page)
    with tab(chromium, link) as other:
        go_to(other, "Neurons")
        expect(other.get_by_label("Name of this list")).to_be_disabled()
