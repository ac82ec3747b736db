"""Names that look like Markdown: shown as they are, and no page asks another host for anything."""

import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from dashboard.text import JOINER
from lake_core.data.samples import assets_folder
from tests.e2e.server import running_dashboard
from tests.e2e.steps import PATIENCE, button, choice, go_to, heading, section, settle

METAL = assets_folder() / "samples" / "metal"
ODD = "![x](https:evil.example) $x^2$ **b** <img src=https:evil.example> :material_home: [l](https:evil.example)"
"""A browser reads `https:host` like `https://host`, so that a name needs no slash to fetch something."""
FORMATTED = "a[href*=evil], img[src*=evil], .katex, strong:text-is('b'), [data-testid=stIconMaterial]:text-is('home')"
"""What Markdown would make of such a name."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of that kind of name, with a data set, a kind of defect and images of that kind of name."""
    root = tmp_path_factory.mktemp("data") / f"root {ODD}"
    for source, site, n in (
        ("train/good", "train/good", 4),
        ("test/good", "test/good", 1),
        ("test/rust", f"test/rust {ODD}", 1),
    ):
        target = root / f"set {ODD}" / site
        target.mkdir(parents=True)
        for path in sorted((METAL / source).glob("*.jpg"))[:n]:
            shutil.copy(path, target / f"{path.stem} {ODD}.jpg")
    return root


@pytest.fixture(scope="module")
def own_address(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_dashboard(tmp_path_factory.mktemp("server") / "dashboard.log", "--data", str(data)) as found:
        yield found


def upload(page: Page, place: str, name: str, content: bytes) -> None:
    uploader = page.get_by_test_id("stFileUploader").filter(has_text=place)
    file: FilePayload = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    uploader.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(files=[file])


def zipped(data: Path) -> bytes:
    """The data set as one file, its own folder left out."""
    buffer = io.BytesIO()
    (folder,) = data.iterdir()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*.jpg")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def check(page: Page, *names: str) -> None:
    """That the page shows the names as they are, and nothing that Markdown would make of them."""
    titles = page.locator(".file-name").evaluate_all("names => names.map(name => name.title)")
    shown = "\n".join([page.get_by_test_id("stMain").inner_text().replace(JOINER, ""), *titles])
    for name in names:
        assert name in shown
    assert page.locator(FORMATTED).count() == 0


@pytest.fixture
def page(chromium: Browser, own_address: str) -> Iterator[Page]:
    """A tab, of which is checked in the end that it asked nobody but the server."""
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.goto(own_address)
        settle(page)
        yield page
        hosts = {urlsplit(url).netloc for url in asked if url.startswith(("http", "ws"))}
        assert hosts == {urlsplit(own_address).netloc}


def bring(page: Page, data: Path) -> None:
    """Uploads a file that is no image, an image and a data set, and runs the model on them."""
    upload(page, "Normal images", f"broken {ODD}.png", b"This is a text, whatever its name says.\n")
    expect(page.get_by_test_id("stAlert").filter(has_text="is a text file")).to_be_visible(timeout=PATIENCE)
    settle(page)
    check(page, f"broken {ODD}.png")
    upload(page, "Normal images", f"own {ODD}.jpg", (METAL / "train/good/005.jpg").read_bytes())
    expect(heading(page, "Normal images (1)")).to_be_visible(timeout=PATIENCE)
    settle(page)
    upload(page, "Both at once", f"all {ODD}.zip", zipped(data))
    expect(heading(page, "Normal images (5)")).to_be_visible(timeout=PATIENCE)
    settle(page)
    assert not page.get_by_text("No images were found").count()
    check(page, f"own {ODD}.jpg", f"test/rust {ODD}/000 {ODD}.jpg")

    field = page.get_by_role("textbox", name="Object name")
    field.fill("![o](https:evil.example) $y$")
    field.press("Enter")
    settle(page)
    button(page, "Run on 7 images").click()
    expect(button(page, r"Download the scores \(CSV\)")).to_be_visible(timeout=PATIENCE)
    settle(page)
    check(page, f"rust {ODD}/000 {ODD}.jpg")


def test_names_are_text_and_nothing_is_fetched_from_elsewhere(page: Page, data: Path) -> None:
    bring(page, data)
    go_to(page, "Neurons")
    check(page, f"rust {ODD}/000 {ODD}.jpg", f"own {ODD}.jpg")

    go_to(page, "Explain")
    assert ODD in page.locator(".microscope h1").inner_text()
    assert ODD in page.locator(".microscope figcaption").last.inner_text()
    section(page, "Comparison")
    check(page, f"{ODD}.jpg")

    go_to(page, "Text prompts")
    choice(page, "Any text").click()
    settle(page)
    phrase = page.get_by_label("A phrase")
    phrase.fill(ODD)
    phrase.press("Enter")
    settle(page)
    check(page, ODD)

    go_to(page, "Compare")
    button(page, "Visual alone vs fused").click()
    expect(heading(page, "Cost")).to_be_visible(timeout=PATIENCE)
    settle(page)
    check(page, "“![o](https:evil.example) $y$”", f"rust {ODD}/000 {ODD}.jpg")

    go_to(page, "Evaluate")
    choice(page, "A folder on the server").click()
    settle(page)
    button(page, "^.*Evaluate$").click()
    expect(heading(page, "One run in detail")).to_be_visible(timeout=2 * PATIENCE)
    settle(page)
    check(page, f"Result: set {ODD}")
