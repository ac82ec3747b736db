"""The report says what the results say, escapes whatever is foreign, and is one small file."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.errors import LakeError
from lake_core.experiments.ranking import elbow, participation_ratio
from lake_core.metrics.auroc_interval import auroc_interval
from lake_core.metrics.decision import counts
from lake_core.reports import content, sections
from lake_core.reports.content import Report, Row
from lake_core.reports.document import SECTIONS, document, save
from lake_core.reports.limits import limits
from lake_core.sentences import control_caveat, sentence
from lake_core.visualization.markup import Markup, element
from lake_core.visualization.microscope import html as microscope
from tests.core.images import spotted
from tests.core.reports.made import HOSTILE, report_on
from tests.core.visualization.blob import read_blob

KINDS = ("defective", "good")


class Reader(HTMLParser):
    """The elements of a document, the texts of its scripts left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts.append(data)
        elif not self._within:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(hazelnut: Report) -> Reader:
    return Reader(document(hazelnut))


def test_a_report_on_8_and_20_images_is_at_most_10_mb(hazelnut: Report) -> None:
    assert (len(hazelnut.lake.normals_), len(hazelnut.rows), len(hazelnut.explained)) == (8, 20, 3)
    n_bytes = len(document(hazelnut).encode())
    assert 500_000 < n_bytes < 10_000_000


def test_even_the_largest_microscopes_and_images_of_noise_fit_into_10_mb(hazelnut: Report) -> None:
    noise = io.BytesIO()
    Image.effect_noise((320, 320), 120).convert("RGB").save(noise, "JPEG", quality=80)
    gallery = [one._replace(jpeg=noise.getvalue()) for one in hazelnut.gallery]
    in_full = [replace(one, payload=bytes(1_950_000)) for one in hazelnut.explained]
    assert len(document(replace(hazelnut, gallery=gallery, explained=in_full)).encode()) < 10_000_000


def test_every_section_is_there_with_what_was_asked(hazelnut: Report, page: Reader) -> None:
    for name in SECTIONS:
        assert name in page.texts
    ids = {attributes.get("id") for _, attributes in page.elements}
    links = [str(link["href"]) for link in page.all("a")]
    assert len(links) == len(SECTIONS)
    assert all(link[1:] in ids for link in links)
    config = hazelnut.lake.config
    for said in (
        "hazelnut: LAKE Explorer report",
        "lake-cnn, images of 384 pixels",
        "20 (8 labelled good, 12 labelled defective)",
        "27 November 2026, 09:05",
        " · ".join(config.prompts.anomalous_states),
        "All 20 test images. ",
        "All 8 normal images. ",
    ):
        assert " ".join(said.split()) in page.text


def test_every_score_and_decision_is_in_the_table(hazelnut: Report, page: Reader) -> None:
    above = sum(row.is_anomalous for row in hazelnut.rows)
    assert f"{above} of 20 test images are above the threshold." in page.text
    found, flagged = (sum(row.is_anomalous and row.label == kind for row in hazelnut.rows) for kind in KINDS)
    assert f"labelled defective {found} {'is' if found == 1 else 'are'} among them" in page.text
    assert f"labelled good {flagged}." in page.text
    for row in hazelnut.rows:
        decision = "▲ above threshold" if row.is_anomalous else "▽ not above threshold"
        label = f"labelled {row.label}"
        numbers = f"{row.path} {row.score:.4f} {row.visual:.4f} {row.text:.4f} {decision} {label}"
        assert numbers in page.text


def test_threshold_confusion_and_auroc_are_those_of_the_metrics(hazelnut: Report, page: Reader) -> None:
    labels, scores = [bool(row.is_defective) for row in hazelnut.rows], [row.score for row in hazelnut.rows]
    found = counts(labels, scores, hazelnut.lake.threshold_)
    assert f"labelled defective {found.true_positives} {found.false_negatives} " in page.text
    assert f"labelled good {found.false_positives} {found.true_negatives} " in page.text
    bounds = auroc_interval(labels, scores)
    assert bounds is not None
    assert f"(95% interval {bounds.low:.3f} to {bounds.high:.3f}) over 20 labelled test images" in page.text
    assert f"greater than {hazelnut.lake.threshold_:.3f}. It is the 0.9 quantile" in page.text


def test_the_selection_and_its_control_are_in_the_pages_words(hazelnut: Report, page: Reader) -> None:
    assert hazelnut.control is not None
    control = hazelnut.control.found
    assert control.finding is not None
    assert sentence(control.finding) in page.text
    assert sentence(control.draws_finding(hazelnut.lake)) in page.text
    assert control_caveat(True) in page.text
    (one,) = hazelnut.lake.selection_.values()
    assert f"100 of {one.n_neurons}, by variance" in page.text
    assert f"K = {elbow(one.sensitivity)}, a suggestion" in page.text
    assert f"{participation_ratio(one.sensitivity):.0f} neurons (participation ratio)" in page.text
    assert ", ".join(map(str, one.neurons[:12].tolist())) in page.text


def test_the_microscopes_are_those_of_the_best_images_and_share_one_script(hazelnut: Report, page: Reader) -> None:
    whole = document(hazelnut)
    assert whole.count("class Microscope") == 1
    assert whole.count(microscope.style()) == 1
    headers = [read_blob(base64.b64decode(text)).header for text in page.scripts[:3]]
    best = hazelnut.by_score[:3]
    assert [header["image"]["name"] for header in headers] == [row.path for row in best]
    assert [header["score"] for header in headers] == [row.score for row in best]
    assert {header["vmax"] for header in headers} == {hazelnut.scale.vmax}


def test_each_microscope_has_the_most_normal_image_beside_it_and_the_neurons_own_aurocs(
    hazelnut: Report, page: Reader
) -> None:
    lake, images = hazelnut.lake, [one.image for one in load_sample("hazelnut").tests]
    good = min((row for row in hazelnut.rows if row.label == "good"), key=lambda row: row.score)
    (layer,) = lake.selection_
    peaks = np.stack(
        [lake.store.get(one, lake.backbone.hook_point(layer, lake.config.site)).max(0)[0] for one in images]
    )
    defective, of_good = (peaks[[row.label == kind for row in hazelnut.rows]] for kind in KINDS)
    wins = (defective[:, None] > of_good).astype(float) + 0.5 * (defective[:, None] == of_good)
    aurocs = wins.mean((0, 1))
    for text, one in zip(page.scripts[:3], hazelnut.explained, strict=True):
        blob = read_blob(base64.b64decode(text))
        assert (blob.header["other"]["name"], blob.header["other"]["score"]) == (good.path, good.score)
        assert "0.other" in blob.header["sections"]
        notes = blob.header["layers"][0]["notes"]
        assert {int(neuron): note["auroc"] for neuron, note in notes.items()} == {
            neuron: pytest.approx(aurocs[neuron], abs=1e-6) for neuron in lake.selection_[layer].neurons.tolist()
        }
        part = one.neurons[0]
        assert f"{part.contribution:.3f} {aurocs[part.neuron]:.2f} " in page.text
        assert f"for comparison {good.path} with its map: score {good.score:.2f}" in page.text
    assert "its greatest activation on each of the labelled test images:" in page.text


def test_a_single_unlabelled_image_has_nothing_beside_it(small_cnn: Backbone) -> None:
    lake = Lake(small_cnn, LakeConfig(layers=(9,), top_k=30)).fit([spotted(seed) for seed in range(3)])
    page = Reader(document(report_on(lake, [spotted(9, True)], [None], 1)))
    header = read_blob(base64.b64decode(page.scripts[0])).header
    assert header["other"] is None
    assert header["layers"][0]["notes"] == {}
    assert "for comparison" not in page.text
    assert "AUROC alone" not in page.text


def test_the_still_of_a_microscope_adds_up(hazelnut: Report, page: Reader) -> None:
    for one in hazelnut.explained:
        assert sum(value for _, value in one.parts) == pytest.approx(one.row.score, rel=1e-4)
        for name, value in (*one.parts, ("score", one.row.score)):
            assert f"{name} {value:.3f}" in page.text
        first = one.neurons[0]
        assert f"{first.layer} {first.neuron} {first.here:.3f} {first.normal:.3f}" in page.text


def test_every_image_has_an_alternative_text_and_comes_with_the_file(page: Reader) -> None:
    images = page.all("img")
    assert len(images) == 20 + 8 + 3 * 5 + 1
    assert [image["alt"] for image in images].count("") == 1  # the strip of colours, whose legend has a name
    assert all(str(image["src"]).startswith("data:image/") for image in images)
    assert all(figure.get("aria-label") for figure in page.all("svg"))


def test_nothing_foreign_becomes_markup(hostile: Report) -> None:
    whole = document(hostile)
    page = Reader(whole)
    assert len(page.all("script")) == len(hostile.explained) + 1
    assert not [one for one in page.all("img") if "onerror" in one]
    assert {name for name, attributes in page.elements for key in attributes if key.startswith("on")} == set()
    assert "<script>alert" not in whole
    assert "<img src=x" not in whole
    said = " ".join(HOSTILE.split())
    assert f"Skipped: {said}" in page.text
    assert all(f"{row.path}".replace("  ", " ") in page.text for row in hostile.rows)
    assert f"t0{HOSTILE} with its score map" in {str(image["alt"]).split(": score")[0] for image in page.all("img")}
    assert [link["href"] for link in page.all("a") if not str(link["href"]).startswith("#")] == []


def test_the_policy_allows_nothing_from_elsewhere(page: Reader) -> None:
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv")]
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", str(page.all("link") + page.all("script"))) == []


def test_what_is_cut_says_how_many_of_how_many(hazelnut: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "MOST_NORMALS", 5)
    monkeypatch.setattr(sections, "MOST_ROWS", 7)
    page = Reader(document(replace(hazelnut, gallery=hazelnut.gallery[:6])))
    assert "6 of 20 test images, those with the highest scores." in page.text
    assert "7 of 20 test images, those with the highest scores." in page.text
    assert "5 of 8 normal images." in page.text
    assert len(page.all("img")) == 6 + 5 + 3 * 5 + 1


def test_ten_thousand_images_do_not_make_it_larger_than_10_mb(hazelnut: Report) -> None:
    rows = [Row(f"{'deep/' * 20}{i}.png", 1 + i / 10_000, 1.0, 1.0, i > 5000) for i in range(10_000)]
    gallery = [hazelnut.gallery[i % 20] for i in range(content.MOST_SHOWN)]
    whole = document(replace(hazelnut, rows=rows, gallery=gallery))
    assert len(whole.encode()) < 10_000_000
    assert "500 of 10000 test images" in whole
    assert "48 of 10000 test images" in whole
    assert "Measured on 20 images of 10000, evenly spread." in whole


def test_without_labels_nothing_is_counted(hazelnut: Report) -> None:
    rows = [replace(row, label=None) for row in hazelnut.rows]
    page = Reader(document(replace(hazelnut, rows=rows)))
    assert "No test image is labelled" in page.text
    assert "Image AUROC" not in page.text
    assert "Decisions against labels" not in [region.get("aria-label") for region in page.all("div")]


def test_labels_of_one_kind_give_no_auroc(hazelnut: Report) -> None:
    rows = [replace(row, label="defective") for row in hazelnut.rows]
    page = Reader(document(replace(hazelnut, rows=rows)))
    assert "an AUROC cannot be computed" in page.text


def test_limits_are_those_of_this_analysis(hazelnut: Report) -> None:
    said = "\n".join(limits(hazelnut))
    assert "99th percentile of normal patches, not their maximum" in said
    assert "0.873 (random neurons 0.796), is optimistic" in said
    assert "The threshold is from the normal images alone" in said
    by_hand = replace(hazelnut, lake=hazelnut.lake.with_threshold(1.5))
    assert "was set by hand" in "\n".join(limits(by_hand))
    assert "set by hand; that of the normal images is" in Reader(document(by_hand)).text


def test_a_report_that_cannot_be_written_is_one_sentence(hazelnut: Report, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="cannot be written"):
        save(hazelnut, tmp_path / "none" / "report.html")


def test_children_and_attributes_are_escaped_unless_they_are_markup() -> None:
    made = element("a", "<b>", Markup("<i></i>"), None, 3, href='"x"', class_="c", aria_label="l", hidden=False)
    assert made == '<a href="&quot;x&quot;" class="c" aria-label="l">&lt;b&gt;<i></i>3</a>'
    assert element("br") == "<br>"
    assert element("script", Markup("1 < 2"), defer=True) == "<script defer>1 < 2</script>"
