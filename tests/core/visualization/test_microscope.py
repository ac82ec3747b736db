"""The microscope's payload says what the result says, at every patch, within its size; its page is one safe file."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.config import LakeConfig
from lake_core.data.images import read_image
from lake_core.detector.lake import Lake
from lake_core.detector.microscope import scored_image
from lake_core.detector.reselection import layer_alone, scores_alone
from lake_core.detector.result import ImageResult
from lake_core.errors import LakeError
from lake_core.visualization.microscope import html
from lake_core.visualization.microscope.payload import MAX_BYTES, MAX_BYTES_OF_A_SELECTION, encode
from lake_core.visualization.microscope.view import LayerView, NeuronNote, OtherImage, PlacedImage, ScoredImage
from tests.core.images import spotted
from tests.core.tiny import OpenTiny
from tests.core.visualization.blob import Blob, neuron_parts, read_blob, rest_parts

HTML_BYTES = 3_000_000


@pytest.fixture(scope="module")
def result(small_cnn: Backbone) -> ImageResult:
    """Two layers of different grids, and a text part."""
    config = LakeConfig(layers=(9, 15), top_k=30, object_name="cloth")
    return Lake(small_cnn, config).fit([spotted(seed) for seed in range(3)]).explain(spotted(9, defect=True))


@pytest.fixture(scope="module")
def blob(result: ImageResult) -> Blob:
    return read_blob(encode(scored_image(result)))


# What the payload says -----------------------------------------------------------------------------------------------


def test_contributions_equal_the_results_at_every_patch(result: ImageResult, blob: Blob) -> None:
    parts = [neuron_parts(blob, number) for number in range(2)]
    w = blob.header["fusion_weight"]
    for patch in np.flatnonzero(result.patch_scores.inside).tolist():
        table = result.contributions(patch)
        for number, layer in enumerate(blob.header["layers"]):
            rows = table[table["layer"] == layer["layer"]].set_index("neuron")["contribution"]
            assert parts[number][patch].tolist() == rows.loc[layer["neurons"]].tolist()
        text = float(table.loc[table["part"] == "text", "contribution"].iloc[0])
        assert w * float(blob.sections["text"][patch]) == pytest.approx(text, abs=1e-12)
        whole = sum(float(one[patch].sum()) for one in parts) + text
        assert whole == pytest.approx(float(blob.sections["score"][patch]), rel=1e-4)


def test_header_and_maps_are_the_results(result: ImageResult, blob: Blob) -> None:
    header, sections = blob
    assert (header["score"], header["threshold"]) == (result.score, result.threshold)
    assert header["patches"] == result.patches.tolist()
    assert header["value_of_one"] == "99th percentile"
    assert header["image"]["name"] == result.image.name
    for name, values in (("score", result.map), ("visual", result.visual_map), ("text", result.text_map)):
        assert values is not None
        inside = sections["inside"].astype(bool)
        assert sections[name][inside].tolist() == values.reshape(-1)[inside].tolist()
    with Image.open(io.BytesIO(sections["image"])) as image:
        assert image.format == "JPEG"


def test_activations_are_those_that_distances_see(result: ImageResult, blob: Blob) -> None:
    for number, layer in enumerate(blob.header["layers"]):
        table = result.top_neurons(None, layer["layer"], 30).set_index("neuron").loc[layer["neurons"]]
        row = blob.sections[f"{number}.under"][result.patch]
        k = len(layer["neurons"])
        low, step = blob.sections[f"{number}.low"], blob.sections[f"{number}.step"]
        here = low + step * blob.sections[f"{number}.here"].reshape(-1, k)[row]
        assert np.abs(here - table["here"].to_numpy()).max() < 1e-5
        normal = here - blob.sections[f"{number}.difference"].reshape(-1, k)[row]
        assert np.abs(normal - table["normal"].to_numpy()).max() < 1e-5


def test_nearest_normal_patches_are_the_evidence(result: ImageResult, blob: Blob) -> None:
    for patch in np.flatnonzero(result.patch_scores.inside)[::7].tolist():
        evidence = result.evidence(patch)
        assert len(evidence) == 2
        for number, found in enumerate(evidence):
            row = blob.sections[f"{number}.under"][patch]
            named = [blob.sections[f"{number}.{name}"][row] for name in ("patch", "normal_image", "normal_patch")]
            assert named == [found.patch, found.normal_image, found.normal_patch]


def test_ranks_are_those_of_the_selection(result: ImageResult, blob: Blob) -> None:
    for layer, matches in zip(blob.header["layers"], result.patch_scores.layers, strict=True):
        selection = matches.memory_bank.selection
        assert layer["ranks"] == [selection.rank_of(neuron) for neuron in layer["neurons"]]
        assert layer["n_neurons"] == selection.n_neurons


def test_without_a_text_part_there_is_no_text_map(open_tiny: OpenTiny) -> None:
    lake = Lake(open_tiny("timm-resnet-attention-pool"), LakeConfig(top_k=4)).fit([spotted(seed) for seed in range(2)])
    result = lake.explain(spotted(5, defect=True))
    assert result.text_map is None
    read = read_blob(encode(scored_image(result)))
    assert "text" not in read.sections
    assert read.header["fusion_weight"] == 0


def test_the_mean_of_several_patches_is_named(small_cnn: Backbone) -> None:
    lake = Lake(small_cnn, LakeConfig(top_q=5, top_k=10)).fit([spotted(seed) for seed in range(2)])
    result = lake.explain(spotted(5, defect=True))
    assert read_blob(encode(scored_image(result))).header["patches"] == result.patches.tolist()


# Layers outside of the score -----------------------------------------------------------------------------------------


def test_watched_layers_stand_beside_those_of_the_score(small_cnn: Backbone) -> None:
    normals, image = [spotted(seed) for seed in range(2)], spotted(5, defect=True)
    one = Lake(small_cnn, LakeConfig(layers=(15,), top_k=20)).fit(normals).explain(image)
    lower = Lake(small_cnn, LakeConfig(layers=(4,), top_k=10), None).fit(normals).explain(image)
    read = read_blob(encode(scored_image(one, [lower.patch_scores, one.patch_scores])))
    assert [(layer["layer"], layer["in_score"]) for layer in read.header["layers"]] == [(4, False), (15, True)]
    assert read.header["score"] == one.score
    patch = one.patch
    own = int(read.sections["0.patch"][read.sections["0.under"][patch]])
    shares = lower.contributions(own)
    expected = shares[shares["part"] == "visual"].set_index("neuron")["contribution"]
    assert neuron_parts(read, 0)[patch] == pytest.approx(expected.loc[read.header["layers"][0]["neurons"]].to_numpy())


def test_a_layers_own_map_is_that_of_a_detector_with_that_layer_alone(small_cnn: Backbone) -> None:
    """Of the layers in the score and of others, to five digits."""
    normals, image = [spotted(seed) for seed in range(3)], spotted(5, defect=True)
    lake = Lake(small_cnn, LakeConfig(layers=(9, 15), top_k=20)).fit(normals)
    outside = [layer_alone(lake, layer) for layer in (4, 17)]
    watched = [scores_alone(lake, one, image) for one in outside if one is not None]
    read = read_blob(encode(scored_image(lake.explain(image), watched, pending=[5])))
    assert read.header["pending"] == [5]
    assert [layer["layer"] for layer in read.header["layers"]] == [4, 9, 15, 17]
    for number, layer in enumerate(read.header["layers"]):
        alone = Lake(small_cnn, LakeConfig(layers=(layer["layer"],), top_k=20, fusion_weight=0.0))
        result = alone.fit(normals).explain(image)
        np.testing.assert_allclose(read.sections[f"{number}.map"], result.visual_map.reshape(-1), rtol=1e-5)
        assert np.nanmax(read.sections[f"{number}.map"]) == pytest.approx(result.score, rel=1e-5)
        selection = alone.selection_[layer["layer"]]
        assert layer["first"] == selection.neurons[:5].tolist()
        assert layer["tau"] == pytest.approx(alone.memory_bank_.layers[0].tau, rel=1e-5)


def test_layers_outside_of_the_score_take_no_room_from_those_in_it() -> None:
    """The second image stays, too."""
    scored = made_up(14, 8, 24)
    layers = [replace(layer, in_score=number == 9) for number, layer in enumerate(scored.layers)]
    other = OtherImage(scored.shown, 0.5, False, scored.inside, {10: layers[9].here})
    blob = encode(replace(scored, layers=tuple(layers), other=other))
    assert len(blob) <= MAX_BYTES_OF_A_SELECTION
    header = read_blob(blob).header
    assert header["other"] is not None
    assert [layer["n_rest"] for layer in header["layers"] if layer["in_score"]] == [0]
    assert min(layer["n_rest"] for layer in header["layers"] if not layer["in_score"]) > 0


def test_watched_results_must_be_of_the_same_images(small_cnn: Backbone, tmp_path: Path) -> None:
    lake = Lake(small_cnn, LakeConfig(top_k=10)).fit([spotted(0), spotted(1)])
    other = Lake(small_cnn, LakeConfig(top_k=10)).fit([spotted(0), spotted(2)])
    result = lake.explain(spotted(5))
    with pytest.raises(LakeError, match=r"is of spotted 6, not of spotted 5"):
        scored_image(result, [lake.explain(spotted(6)).patch_scores])
    with pytest.raises(LakeError, match="other normal images"):
        result.save_html(tmp_path / "defect.html", [other.explain(spotted(5))])


def test_notes_reach_the_neurons_they_are_of(result: ImageResult) -> None:
    neuron = int(result.patch_scores.layers[1].memory_bank.selection.neurons[3])
    notes = {(15, neuron): NeuronNote(0.75, "rust"), (15, -1): NeuronNote(0.5)}
    layers = read_blob(encode(scored_image(result, notes=notes))).header["layers"]
    assert [layer["notes"] for layer in layers] == [{}, {str(neuron): {"auroc": 0.75, "label": "rust"}}]


# A second image ------------------------------------------------------------------------------------------------------


def test_a_second_image_has_the_activations_of_the_same_neurons(small_cnn: Backbone) -> None:
    lake = Lake(small_cnn, LakeConfig(layers=(9, 15), top_k=20)).fit([spotted(seed) for seed in range(2)])
    one, good = lake.explain(spotted(5, defect=True)), lake.explain(spotted(6))
    read = read_blob(encode(scored_image(one, other=good)))
    told = read.header["other"]
    assert (told["name"], told["score"], told["is_anomalous"]) == (good.image.name, good.score, bool(good.is_anomalous))
    for number, matches in enumerate(good.patch_scores.layers):
        low, step = read.sections[f"{number}.other_low"], read.sections[f"{number}.other_step"]
        shown = low + step * read.sections[f"{number}.other"].reshape(-1, 20)
        own = matches.patches[read.sections[f"{number}.patch"].astype(np.int64)].numpy()
        assert (np.abs(shown - own) <= step / 2 + 1e-6).all()
        assert np.ptp(own) > 10 * step.max()
    without = read_blob(encode(scored_image(one)))
    assert without.header["other"] is None
    assert {name for name in read.sections if "other" in name} == set(read.sections) - set(without.sections)


def test_a_second_image_of_another_detector_is_refused(small_cnn: Backbone) -> None:
    normals = [spotted(seed) for seed in range(2)]
    one = Lake(small_cnn, LakeConfig(top_k=10)).fit(normals).explain(spotted(5))
    other = Lake(small_cnn, LakeConfig(top_k=11)).fit(normals).explain(spotted(6))
    with pytest.raises(LakeError, match="by another detector than that of spotted 5"):
        scored_image(one, other=other)


def test_a_second_image_that_does_not_fit_costs_no_neuron() -> None:
    scored = made_up(4, 8, 24)
    activations = {layer.layer: layer.here for layer in scored.layers}
    other = OtherImage(scored.shown, 0.5, False, scored.inside, activations)
    one_layer = replace(made_up(1, 8, 24), other=replace(other, activations={1: activations[1]}))
    assert read_blob(encode(one_layer)).header["other"] is not None
    blob = read_blob(encode(replace(scored, other=other)))
    assert blob.header["other"] is None
    assert [layer["n_rest"] for layer in blob.header["layers"]] == [0] * 4


# Sizes ---------------------------------------------------------------------------------------------------------------


def made_up(n_layers: int, n_normals: int, side: int, k: int = 100) -> ScoredImage:
    """A scored image of noise, which no compression makes smaller, with contributions that add up."""
    rng = np.random.default_rng(0)
    grid, placement = PatchGrid(side, side, 384, 384), Placement(384, 384, 0, 0, 384, 384)
    pixels = rng.integers(0, 256, (n_normals + 1, 64, 64, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((768, 768))) for one in pixels]
    images = [PlacedImage(read_image(rgb, f"image {i}"), placement) for i, rgb in enumerate(large)]
    n = side * side
    layers = tuple(
        LayerView(
            layer=number + 1,
            in_score=True,
            tau=0.5,
            weight=0.7 / n_layers,
            grid=grid,
            neurons=rng.permutation(1000)[:k],
            ranks=np.arange(1, k + 1),
            n_neurons=1000,
            patches=np.arange(n),
            here=rng.normal(size=(n, k)).astype(np.float32),
            difference=rng.normal(size=(n, k)).astype(np.float32) * rng.uniform(0, 0.1, k).astype(np.float32),
            normal_image=rng.integers(0, n_normals, n),
            normal_patch=rng.integers(0, n, n),
            under=np.arange(n),
            own_map=rng.random(n).astype(np.float32),
        )
        for number in range(n_layers)
    )
    visual = sum((layer.difference.astype(np.float64) ** 2).sum(1) / layer.tau for layer in layers) / n_layers
    text = rng.uniform(0, 1, n)
    score = 0.7 * visual + 0.3 * text
    return ScoredImage(
        shown=images[-1],
        grid=grid,
        inside=np.ones(n, dtype=np.bool_),
        score_map=score.astype(np.float32),
        visual_map=np.asarray(visual, np.float32),
        text_map=text.astype(np.float32),
        score=float(score.max()),
        threshold=1.0,
        is_anomalous=bool(score.max() > 1),
        fusion_weight=0.3,
        patches=np.array([score.argmax()]),
        vmax=3.0,
        value_of_one="99th percentile",
        activation="as the network has them",
        layers=layers,
        normals=tuple(images[:-1]),
    )


@pytest.mark.parametrize(
    ("n_layers", "n_normals", "side", "limit"),
    [(4, 8, 24, MAX_BYTES), (4, 8, 48, MAX_BYTES_OF_A_SELECTION), (24, 8, 24, MAX_BYTES_OF_A_SELECTION)],
)
def test_payload_and_page_stay_within_their_sizes(n_layers: int, n_normals: int, side: int, limit: int) -> None:
    data = encode(made_up(n_layers, n_normals, side))
    assert len(data) <= limit
    assert len(html.page(data, "made up").encode()) <= HTML_BYTES


def test_all_neurons_are_listed_where_they_fit() -> None:
    layers = read_blob(encode(made_up(4, 8, 24))).header["layers"]
    assert [(len(layer["neurons"]), layer["n_rest"]) for layer in layers] == [(100, 0)] * 4


@pytest.mark.parametrize(("n_layers", "side"), [(4, 48), (24, 24)])
def test_the_rest_makes_sums_exact(n_layers: int, side: int) -> None:
    scored = made_up(n_layers, 8, side)
    blob = read_blob(encode(scored))
    total = scored.fusion_weight * blob.sections["text"].astype(np.float64)
    for number, (view, layer) in enumerate(zip(scored.layers, blob.header["layers"], strict=True)):
        assert layer["n_rest"] == 100 - len(layer["neurons"]) > 0
        listed, rest = neuron_parts(blob, number), rest_parts(blob, number)
        whole = (view.difference.astype(np.float64) ** 2).sum(1) / view.tau * view.weight
        assert np.abs(listed.sum(1) + rest - whole).max() < 1e-7
        most = (view.difference**2).max(axis=0)
        left_out = ~np.isin(view.neurons, layer["neurons"])
        assert most[left_out].max() <= most[~left_out].min()
        total += listed.sum(1) + rest
    assert np.abs(total - blob.sections["score"]).max() < 1e-5


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page_is_one_file_without_addresses(result: ImageResult, tmp_path: Path) -> None:
    path = result.save_html(tmp_path / "defect.html")
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=|https?://|@import|url\(", text) == []
    assert "import " not in re.sub(r"//.*|/\*.*?\*/", "", html.script())


def test_names_cannot_become_markup(result: ImageResult, tmp_path: Path) -> None:
    bad = "</script><img src=x onerror=alert(1)>.png"
    image = replace(result.image, name=bad)
    scored = scored_image(result)
    scored = replace(scored, shown=PlacedImage(image, scored.shown.placement))
    page = html.page(encode(scored), bad)
    assert bad not in page
    assert bad not in html.notebook(scored, page)
    assert read_blob(encode(scored)).header["image"]["name"] == bad


def test_a_place_that_cannot_be_written_is_one_sentence(result: ImageResult, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="give another place"):
        result.save_html(tmp_path / "missing" / "defect.html")


def test_a_notebook_gets_a_still_image_with_its_numbers_beside_the_frame(result: ImageResult) -> None:
    shown = result._repr_html_()
    assert len(shown.encode()) <= HTML_BYTES
    still = shown[: shown.index("<iframe")]
    assert "data:image/png;base64," in still
    parts = result.contributions(level="layer")
    for value in (*parts["contribution"], result.score, result.threshold):
        assert f"<td>{value:.3f}</td>" in still
    assert "<script" not in still


def test_the_modules_share_no_name() -> None:
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", html.script(), re.MULTILINE)
    assert len(names) == len(set(names))
