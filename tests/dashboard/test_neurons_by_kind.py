"""Neurons on all test images by kind of defect, looks at a neuron before it is opened, and the section that is kept."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard.plots.neurons import Row, by_image
from dashboard.services.analysis import Analysis
from dashboard.session import Focus
from dashboard.views.neurons.by_kind import BY_KIND, DIFFERENCE, HERE, _activations, matrix_of
from dashboard.words import NEURON_CARD
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.neurons.activations import neuron_activations
from lake_core.neurons.by_kind import kind_of
from lake_core.visualization.colours import ValueScale
from tests.dashboard.visit import downloads, full, highest, opened, press, run, texts


@pytest.fixture
def page(small: Dataset) -> AppTest:
    return run(full(small, "neurons"), neuron_section=BY_KIND)


def test_good_images_come_first_and_each_neuron_stands_by_the_kind_it_fires_for(found: Analysis) -> None:
    shown = matrix_of(found, 15, HERE)
    assert shown.kinds[0] == "good"
    assert len(set(shown.kinds)) == 3
    assert shown.values_in.shape == (3, 24)
    strongest = shown.values_in.argmax(0)  # with one image of each kind
    moved = [kind for kind, column in zip(strongest, shown.values_in.T, strict=True) if np.ptp(column) > 0]
    assert moved == sorted(moved)
    hook_point = found.lake.backbone.hook_point(15, "mlp_hidden")
    for row, (example, result) in enumerate(shown.rows):
        acts = found.lake.store.get(example.image, hook_point)[result.evidence()[0].patch]
        assert shown.values_in[row].tolist() == acts[shown.neurons].tolist()


def test_the_difference_from_normal_has_both_signs(found: Analysis) -> None:
    values = matrix_of(found, 15, DIFFERENCE).values_in
    assert values.min() < 0 < values.max()


def test_the_page_shows_the_matrix_with_a_table_and_says_what_differs(page: AppTest, found: Analysis) -> None:
    assert len(page.get("plotly_chart")) == 1
    assert "good ones first" in texts(page)
    table = page.dataframe[0].value
    shown = matrix_of(found, 15, HERE)
    assert table["kind"].tolist() == shown.kinds
    assert table[f"neuron {shown.neurons[0]}"].tolist() == pytest.approx(shown.values_in[:, 0].tolist())
    for kind in set(shown.kinds):
        assert f"**{kind}** (1 image)" in texts(page).replace("\\", "")


def test_a_neuron_of_a_kind_leads_to_its_card(page: AppTest, found: Analysis) -> None:
    kind = next(kind_of(example) for example in found.workspace.tests if example.label == "defective")
    first = next(button for button in page.button if str(button.key).startswith(f"kind_{kind}_"))
    neuron = int(str(first.key).rsplit("_", 1)[1])
    first.click().run()
    assert not page.exception
    assert page.session_state.neuron_section == NEURON_CARD
    assert page.session_state.session.focus.neuron == neuron
    assert f"Neuron {neuron} of layer 15" in [one.value for one in page.subheader]


def test_without_test_images_or_kinds_the_page_says_so(small: Dataset) -> None:
    app = run(opened(Workspace(small.normals, (), "metal"), "neurons"), neuron_section=BY_KIND)
    assert "Add test images to see which neurons fire" in texts(app)
    app = run(opened(Workspace(small.normals, small.tests[:1], "metal"), "neurons"), neuron_section=BY_KIND)
    assert "All test images are of one kind" in texts(app)


def test_a_button_shows_the_neurons_map_on_the_shared_image(small: Dataset, found: Analysis) -> None:
    app = full(small, "neurons")
    top = next(button for button in app.button if str(button.key).startswith("top_"))
    number = int(str(top.key).split("_")[1])
    address, said = top.help.split(")", 1)
    encoded = address.removeprefix("![](data:image/jpeg;base64,")
    jpeg = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert max(jpeg.size) == 176
    assert f"Neuron {number} of layer 15 on {highest(found).image.name}" in said.replace("\\", "")
    assert "more active than normal, adds" in said or "less active than normal, adds" in said
    other = next(b for b in app.button if str(b.key).startswith("top_") and b.key != top.key)
    assert other.help.split(")", 1)[0] != address


def test_the_section_is_kept_on_a_visit_elsewhere(page: AppTest) -> None:
    page.switch_page("app_pages/text_prompts.py").run()
    assert "good ones first" not in texts(page)
    page.switch_page("app_pages/neurons.py").run()
    assert not page.exception
    assert "good ones first" in texts(page)
    press(page, next(b.label for b in page.button if str(b.key).startswith("kind_")))
    page.switch_page("app_pages/text_prompts.py").run()
    page.switch_page("app_pages/neurons.py").run()
    assert "Where it is active" in texts(page)


def test_a_cell_of_the_figure_names_its_row_and_neuron_and_foreign_names_stay_text() -> None:
    values = np.array([[0.0, 1.0], [2.0, 3.0]])
    rows = [Row("good", "a/<b>.png"), Row("rust", "c.png")]
    heat, cells = by_image(values, rows, [7, 9], ValueScale(3.0, is_signed=False), "activation").data
    assert np.asarray(heat.z).tolist() == values.tolist()
    assert (heat.zmin, heat.zmax) == (0, 3)
    assert [list(one) for one in cells.customdata] == [[0, 7], [0, 9], [1, 7], [1, 9]]
    assert cells.text[1] == "a/&lt;b&gt;.png (good)<br>neuron 9: 1.000"
    figure = by_image(values, rows, [7, 9], ValueScale(3.0), "difference")
    assert figure.data[0].zmin == -3
    assert list(figure.layout.yaxis.ticktext) == ["good · &lt;b&gt;.png", "rust · c.png"]
    assert len(figure.layout.shapes) == 1


def test_selected_neurons_show_their_maps_in_the_table_if_asked(small: Dataset, found: Analysis) -> None:
    app = full(small, "selection")
    chosen = found.lake.selection_[15].neurons
    assert app.dataframe[0].value["neuron"].tolist() == chosen.tolist()
    assert "map" not in app.dataframe[0].value
    app.toggle(key="with_maps_15").set_value(True).run()
    assert not app.exception
    addresses = app.dataframe[0].value["map"].tolist()
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert len(set(addresses)) > 0.9 * len(chosen)


def test_a_bar_of_the_ranking_opens_its_neurons_card_whatever_section_was_open(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page.switch_page("app_pages/selection.py").run()
    monkeypatch.setattr("dashboard.views.selection.overview.first_clicked", lambda event: 276)
    app.run()
    assert not app.exception
    assert [title.value for title in app.title] == ["Neurons"]
    assert "Neuron 276 of layer 15" in [one.value for one in app.subheader]


def test_the_link_to_the_other_section_keeps_the_neuron(page: AppTest) -> None:
    image = page.session_state.session.focus.image
    run(page, focus=Focus(image, 15, 276), neuron_section=NEURON_CARD)
    assert "Neuron 276 of layer 15" in [one.value for one in page.subheader]


def test_all_activations_are_offered_for_download(page: AppTest, found: Analysis) -> None:
    assert "Download all activations (CSV)" in downloads(page)
    table = pd.read_csv(io.StringIO(_activations(found)))
    own = neuron_activations(found.lake, found.workspace.tests)
    assert len(table) == 3 + 3
    assert len(table.columns) == 3 + 100
    pd.testing.assert_frame_equal(table, own, check_dtype=False, rtol=1e-6)
