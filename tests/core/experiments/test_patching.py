"""Replacing units inside the running network: against hooks written by hand, on every backbone family."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.hooks import Place
from lake_core.config import LakeConfig
from lake_core.data.images import Picture, read_picture
from lake_core.detector.lake import Lake
from lake_core.errors import BackboneError, ConfigError
from lake_core.experiments.ablation import all_selected
from lake_core.experiments.patching import CausalChange, Source, ablate, deciding_patches, evidence_sources, patch_in
from lake_core.prompts import text_directions
from tests.core.method import agree, kind_or_channel, layers_of, naive
from tests.core.running import Cancelled, in_threads
from tests.core.tiny import OpenTiny, Tiny

N_NORMALS = 3
TOKENS = ("native-vit", "siglip", "eva02", "perception-encoder", "mobileclip-b", "timm-vit")


@pytest.fixture(scope="module")
def lakes(noise_pictures: list[Picture]) -> Callable[..., Lake]:
    """Fitted detectors over all layers with small grids, one store for each backbone."""
    stores: dict[Backbone, FeatureStore] = {}

    def make(backbone: Backbone, **options: Any) -> Lake:
        store = stores.setdefault(backbone, FeatureStore(backbone))
        kind = kind_or_channel(backbone, "hidden")
        given: dict[str, Any] = {"kind": kind, "layers": layers_of(backbone, kind, 8), "top_k": 8} | options
        lake = Lake(backbone, LakeConfig(**given), store).fit(noise_pictures[:N_NORMALS])
        store.ensure(noise_pictures, backbone.places)
        return lake

    return make


@pytest.fixture
def lake(tiny: Tiny, lakes: Callable[..., Lake]) -> Lake:
    return lakes(tiny.backbone)


def early(lake: Lake) -> int:
    """A layer of the score with others after it."""
    return lake.config.layers[-2]


def as_held(backbone: Backbone, name: str, place: Place, raw: Tensor) -> Tensor:
    """(rows, cols, units) view of one picture's patch tokens, told by the shape of the tensor alone."""
    n_of: dict[Any, int] = dict(backbone.layer(place.layer).n_units)
    grid, n_units = backbone.grid(place), n_of[place.kind]
    one = raw[0]
    if name.startswith(TOKENS):
        return one[-grid.n_patches :].unflatten(0, (grid.rows, grid.cols))
    return one if one.shape[-1] == n_units and one.shape[0] != n_units else one.permute(1, 2, 0)


@contextmanager
def by_hand(backbone: Backbone, name: str, place: Place, write: Callable[[Tensor], None]) -> Iterator[None]:
    """Hooks of the test's own that write into the patch tokens at a place."""
    tap = backbone._tower.taps()[place]

    def written(raw: Tensor) -> Tensor:
        changed = raw.clone()
        write(as_held(backbone, name, place, changed))
        return changed

    if tap.takes == "input":
        handle = tap.module.register_forward_pre_hook(lambda _m, inputs: (written(inputs[0]), *inputs[1:]))
    else:
        handle = tap.module.register_forward_hook(
            lambda _m, _i, out: (written(out[0]), *out[1:]) if isinstance(out, tuple) else written(out)
        )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def without_outgoing_weights(backbone: Backbone, place: Place, unit: int) -> Iterator[None]:
    """While it lasts, nothing that comes after the unit reads it."""
    visual = backbone._tower.visual
    weights: list[Any]
    if place.kind == "hidden":
        weights = [backbone._tower.taps()[place].module.weight]
    elif hasattr(visual, "attnpool"):
        weights = [getattr(visual.attnpool, name).weight for name in ("q_proj", "k_proj", "v_proj")]
    elif hasattr(visual.head, "pool"):
        weights = [visual.head.pool.qkv.weight]
    else:
        weights = [visual.head.proj.weight]
    kept = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight[:, unit] = 0
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)


def mean_over_normals(lake: Lake, place: Place, normals: list[Picture]) -> np.ndarray:
    """(n_units,) float64; pictures fill the input here."""
    return np.stack([lake.store.get(normal, place).double().numpy() for normal in normals]).mean((0, 1))


# Against hooks written by hand ---------------------------------------------------------------------------------------


def test_mean_ablation_is_what_a_hook_written_by_hand_does(
    tiny: Tiny, lake: Lake, noise_pictures: list[Picture]
) -> None:
    backbone, picture, layer = tiny.backbone, noise_pictures[5], early(lake)
    place = backbone.place(layer, lake.config.kind)
    units, patches = sorted(lake.selection_[layer].units[:3].tolist()), [1, 2]
    found = ablate(lake, picture, {layer: units}, {layer: patches}, n_draws=0)
    means, cols = mean_over_normals(lake, place, noise_pictures[:N_NORMALS]), backbone.grid(place).cols

    def write(patches_rcu: Tensor) -> None:
        for patch in patches:
            for unit in units:
                patches_rcu[patch // cols, patch % cols, unit] = float(means[unit])

    pixels = backbone.prepare(picture)[None]
    plain = {key: value[0] for key, value in backbone.forward(pixels, backbone.places).items()}
    with by_hand(backbone, tiny.name, place, write):
        # The backbone's own hooks see this place before the test's, so it is written into what they collected.
        expected = {key: value[0] for key, value in backbone.forward(pixels, backbone.places).items()}
    expected[place] = expected[place].clone()
    for patch in patches:
        expected[place][patch, units] = torch.from_numpy(means[units]).float()
    by_method = naive(lake, noise_pictures[:N_NORMALS], picture, seen=expected)
    assert found.after.score == pytest.approx(by_method.score, rel=5e-4)
    agree(found.after.map.reshape(-1), by_method.fused)
    untouched = naive(lake, noise_pictures[:N_NORMALS], picture)
    assert found.change == pytest.approx(by_method.score - untouched.score, abs=2e-3)
    assert np.abs(by_method.fused - untouched.fused).max() > 1e-3
    directions = text_directions(backbone.encode_text, lake.config.prompts, lake.config.object_name)
    image, axis = expected[backbone.image_place][0], directions.anomalous - directions.normal
    assert found.text_after == pytest.approx(float(image @ axis), abs=1e-5)
    assert found.text_before == pytest.approx(float(plain[backbone.image_place][0] @ axis), abs=1e-5)
    assert [one.layer for one in found.layers] == list(range(layer, len(backbone.layers) + 1))
    for one in found.layers[1:]:
        output = Place(one.layer, "channel")
        change = (expected[output] - plain[output]).double().norm()
        assert one.relative == pytest.approx(float(change / plain[output].double().norm()), rel=1e-3, abs=1e-6)
        grid = backbone.grid(output)
        each = (expected[output] - plain[output]).norm(dim=1) / plain[output].norm(dim=1).mean()
        np.testing.assert_allclose(one.map, each.reshape(grid.rows, grid.cols), rtol=1e-3, atol=1e-5)
        assert (one.unusual_before is None) == (one.layer not in lake.selection_)
    assert found.layers[-1].relative > 1e-4
    assert abs(found.text_change) > 1e-7
    assert found.before.score == pytest.approx(lake.score(picture).score, rel=1e-4)


@pytest.mark.parametrize("name", ["native-vit", "siglip"])
def test_a_blocks_output_changes_by_the_units_outgoing_weights(
    open_tiny: OpenTiny, lakes: Callable[..., Lake], noise_pictures: list[Picture], name: str
) -> None:
    """mlp_out = sum_u a_u W_u + b, so the output of the block moves by (mean - a_u) W_u."""
    backbone = open_tiny(name)
    lake, unit, place = lakes(backbone), 7, Place(1, "hidden")
    found = ablate(lake, noise_pictures[6], {1: [unit]}, n_draws=0).layers[0]
    module: Any = backbone._tower.taps()[place].module
    down = module.weight[:, unit].detach().double()
    acts = lake.store.get(noise_pictures[6], place).double()[:, unit]
    mean = float(mean_over_normals(lake, place, noise_pictures[:N_NORMALS])[unit])
    output = lake.store.get(noise_pictures[6], Place(1, "channel")).double()
    expected = (mean - acts).norm() * down.norm() / output.norm()
    assert found.relative == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_allclose(
        found.map.reshape(-1), (mean - acts).abs() * down.norm() / output.norm(dim=1).mean(), rtol=1e-3
    )


# What must and must not change ---------------------------------------------------------------------------------------


def test_a_unit_that_nothing_reads_changes_nothing(
    tiny: Tiny, lakes: Callable[..., Lake], noise_pictures: list[Picture]
) -> None:
    backbone = tiny.backbone
    kind = kind_or_channel(backbone, "hidden")
    # Not the last one of a ViT: its patch tokens do not reach the whole picture any more.
    layer = backbone.layers_with(kind)[-2 if kind == "hidden" else -1]
    # The score looks at another layer, or it would see the unit itself.
    lake = lakes(backbone, layers=backbone.layers_with(kind)[-1 if kind == "hidden" else 0 :][:1])
    unit = int(lake.store.get(noise_pictures[5], Place(layer, kind)).std(0).argmax())
    connected = ablate(lake, noise_pictures[5], {layer: [unit]}, n_draws=0)
    assert abs(connected.text_change) > 1e-6
    with without_outgoing_weights(backbone, Place(layer, kind), unit):
        loose = ablate(lake, noise_pictures[5], {layer: [unit]}, n_draws=0)
    assert loose.text_change == 0
    assert loose.change == 0
    if kind == "hidden":
        assert [one.relative for one in loose.layers] == [0] * len(loose.layers)
        assert all(not np.nan_to_num(one.map).any() for one in loose.layers)
    assert ablate(lake, noise_pictures[5], {layer: [unit]}, n_draws=0).text_change == connected.text_change


def test_a_patch_that_gets_its_own_values_stays(lake: Lake, noise_pictures: list[Picture]) -> None:
    layer, picture = early(lake), noise_pictures[5]
    own = Source(picture, 2)
    units = {layer: range(lake.backbone.layer(layer).n_units[lake.config.kind])}
    found = patch_in(lake, picture, units, {layer: own}, {layer: [2]}, n_draws=0)
    assert found.change == pytest.approx(0, abs=1e-4)
    assert found.text_change == pytest.approx(0, abs=1e-6)
    assert max(one.relative for one in found.layers) < 1e-5
    other = patch_in(lake, picture, units, {layer: Source(noise_pictures[0], 2)}, {layer: [2]}, n_draws=0)
    assert min(one.relative for one in other.layers) > 1e-3


def test_a_patched_patch_has_the_values_of_its_source(open_tiny: OpenTiny) -> None:
    """A whole patch of a layer replaced by its evidence, over all units, has distance 0 where nothing is smoothed."""
    rng = np.random.default_rng(1)
    pictures = [read_picture(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(4)]
    backbone = open_tiny("native-vit")
    lake = Lake(backbone, LakeConfig(layers=(2,), kind="hidden", smooth=1, top_k=20, text_weight=0.0)).fit(pictures[:3])
    result = lake.score(pictures[3])
    found = patch_in(
        lake, pictures[3], all_selected(lake), evidence_sources(lake, result), deciding_patches(result), n_draws=0
    )
    assert found.after.witnesses.layers[0].distance[result.patch] == pytest.approx(0, abs=1e-6)
    others = np.arange(25) != result.patch
    before, after = found.before.witnesses.layers[0].distance, found.after.witnesses.layers[0].distance
    np.testing.assert_allclose(after[others], before[others], rtol=1e-4, atol=1e-6)
    assert found.layers[0].unusual_before is not None
    assert found.layers[0].unusual_after is not None
    assert found.change < 0
    changed = np.flatnonzero(found.layers[0].map.reshape(-1) > 1e-5)
    assert changed.tolist() == [result.patch]


def test_with_all_selected_units_at_their_mean_no_patch_differs_from_another(
    lake: Lake, noise_pictures: list[Picture]
) -> None:
    found = ablate(lake, noise_pictures[5], all_selected(lake), n_draws=0)
    assert np.nanstd(found.before.visual_map) > 1e-2
    assert np.nanmax(found.after.visual_map) - np.nanmin(found.after.visual_map) < 1e-4
    assert not found.score_rank.n_draws
    assert found.sentence.startswith("There are too few other neurons of the same layers")


# Random draws, threads, cancelling -----------------------------------------------------------------------------------


def small(lake: Lake, noise_pictures: list[Picture], **options: Any) -> CausalChange:
    layer = early(lake)
    return ablate(lake, noise_pictures[5], {layer: lake.selection_[layer].units[:2]}, **({"n_draws": 3} | options))


def test_draws_are_ablations_of_as_many_other_units(lake: Lake, noise_pictures: list[Picture]) -> None:
    done: list[tuple[int, int]] = []
    found = small(lake, noise_pictures, seed=4, on_progress=lambda *step: done.append(step))
    assert done == [(i, 5) for i in range(1, 6)]
    layer, place = early(lake), lake.backbone.place(early(lake), lake.config.kind)
    chosen = set(lake.selection_[layer].units[:2].tolist())
    for row, draw in enumerate(found.draws):
        assert draw.keys() == {layer}
        units = draw[layer].tolist()
        assert len(set(units)) == 2
        assert not set(units) & chosen
        acts = lake.store.stack(noise_pictures[:N_NORMALS], place)[:, :, units]
        assert (acts.flatten(0, 1).std(0) > 0).all()
        alone = ablate(lake, noise_pictures[5], draw, n_draws=0)
        assert found.score_changes[row] == pytest.approx(alone.change)
        assert found.text_changes[row] == pytest.approx(alone.text_change)
        np.testing.assert_allclose(found.layer_changes[row], [one.relative for one in alone.layers])
    assert len({tuple(draw[layer]) for draw in found.draws}) == 3
    again, other = small(lake, noise_pictures, seed=4), small(lake, noise_pictures, seed=5)
    np.testing.assert_array_equal(again.layer_changes, found.layer_changes)
    assert not np.array_equal(other.layer_changes, found.layer_changes)
    assert found.sentence.count("Of 3 random draws of as many neurons of the same layer") == 3
    assert found.layer_ranks.keys() == {one.layer for one in found.layers}


def test_the_pool_of_selected_units_has_only_those(
    open_tiny: OpenTiny, lakes: Callable[..., Lake], noise_pictures: list[Picture]
) -> None:
    lake = lakes(open_tiny("convnext"))
    layer = early(lake)
    found = small(lake, noise_pictures, pool="selected", n_draws=10)
    assert len(found.draws) == 10
    drawn = {unit for draw in found.draws for unit in draw[layer].tolist()}
    assert drawn <= set(lake.selection_[layer].units[2:].tolist())
    assert "10 random draws of as many selected neurons of the same layer" in found.sentence
    assert ablate(lake, noise_pictures[5], {1: [3]}, kind="channel", pool="selected", n_draws=3).draws == []
    assert len(ablate(lake, noise_pictures[5], {1: [3]}, kind="channel", n_draws=3).draws) == 3


def test_nothing_of_it_reaches_the_store(lake: Lake, noise_pictures: list[Picture]) -> None:
    held = {key: {place: t.clone() for place, t in row.items()} for key, row in lake.store._held.items()}
    before, n_before = lake.score(noise_pictures[5]), lake.store.n_forwards
    small(lake, noise_pictures)
    assert lake.store.n_forwards == n_before
    assert held.keys() == lake.store._held.keys()
    for key, row in held.items():
        assert row.keys() == lake.store._held[key].keys()
        assert all(torch.equal(t, lake.store._held[key][place]) for place, t in row.items())
    assert lake.score(noise_pictures[5]).score == before.score


@pytest.mark.parametrize("name", ["native-vit", "efficientnet", "timm-resnet"])
def test_threads_do_not_see_each_others_changes(
    open_tiny: OpenTiny, lakes: Callable[..., Lake], noise_pictures: list[Picture], name: str
) -> None:
    lake = lakes(open_tiny(name))
    layer = early(lake)
    units = [[int(unit)] for unit in lake.selection_[layer].units[:3]]

    def work(index: int) -> None:
        for _ in range(8):
            if index == 3:  # one that changes nothing
                plain = lake.backbone.forward(lake.backbone.prepare(noise_pictures[5])[None], lake.places)
                assert all(torch.equal(tensor, reference[place]) for place, tensor in plain.items())
            else:
                found = ablate(lake, noise_pictures[5], {layer: units[index]}, n_draws=0)
                assert (found.text_after, found.after.score) == expected[index]

    reference = lake.backbone.forward(lake.backbone.prepare(noise_pictures[5])[None], lake.places)
    found = [ablate(lake, noise_pictures[5], {layer: each}, n_draws=0) for each in units]
    expected = [(one.text_after, one.after.score) for one in found]
    assert len(set(expected)) == 3
    in_threads(work)


def test_cancelling_leaves_everything_usable(
    open_tiny: OpenTiny, lakes: Callable[..., Lake], noise_pictures: list[Picture]
) -> None:
    lake = lakes(open_tiny("siglip"))
    before = small(lake, noise_pictures)

    def stop(done: int, _in_all: int) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        small(lake, noise_pictures, on_progress=stop)
    again = small(lake, noise_pictures)
    assert again.after.score == before.after.score
    np.testing.assert_array_equal(again.layer_changes, before.layer_changes)


# What is refused -----------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_refused(
    open_tiny: OpenTiny, lakes: Callable[..., Lake], noise_pictures: list[Picture]
) -> None:
    lake = lakes(open_tiny("native-vit"))
    picture = noise_pictures[5]
    with pytest.raises(BackboneError, match="has no hidden unit 128; choose 0 to 127"):
        ablate(lake, picture, {2: [128]})
    with pytest.raises(BackboneError, match="has no patch 25; choose 0 to 24 \\(5 x 5\\)"):
        ablate(lake, picture, {2: [0]}, {2: [25]})
    with pytest.raises(BackboneError, match="has no layer 9"):
        ablate(lake, picture, {9: [0]})
    with pytest.raises(ConfigError, match="choose at least one"):
        ablate(lake, picture, {2: []})
    with pytest.raises(ConfigError, match="Layer 2 has no source"):
        patch_in(lake, picture, {2: [0]}, {1: Source(picture, 0)})
    with pytest.raises(BackboneError, match="has no patch 99"):
        patch_in(lake, picture, {2: [0]}, {2: Source(picture, 99)})
