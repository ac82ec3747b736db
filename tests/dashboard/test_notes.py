"""Pinned neurons in named lists with a sentence each, and the lists as a table and as a text."""

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.session import PIN_LIST
from dashboard.settings import ModelKey, Note, Pin
from dashboard.views.neurons.notes import UNNAMED, markdown_of, table_of
from lake_core.data.datasets import Dataset
from tests.dashboard.visit import full, press, run, texts

PINS = tuple(Pin(ModelKey("lake-cnn", 384), 15, "mlp_hidden", neuron) for neuron in (3, 276, 448))
NOTES = {PINS[0]: Note("Scratches", "Bright *edges*, [really](x)"), PINS[2]: Note("Scratches")}


@pytest.fixture
def page(small: Dataset) -> AppTest:
    app = full(small, "neurons")
    app.session_state.session.pins = PINS
    app.session_state.session.set_notes(NOTES)
    return run(app)


def shown(app: AppTest) -> list[int]:
    """The neurons of the cards."""
    return [pin.neuron for pin in PINS if f"layer 15 · MLP hidden · neuron {pin.neuron} ·" in texts(app)]


def test_the_list_that_is_chosen_is_shown(page: AppTest) -> None:
    assert page.selectbox(key=PIN_LIST).options == ["Scratches", UNNAMED]
    assert shown(page) == [276]
    page.selectbox(key=PIN_LIST).set_value("Scratches").run()
    assert not page.exception
    assert shown(page) == [3, 448]
    assert page.text_area(key="note_15_mlp_hidden_3").value == NOTES[PINS[0]].text


def test_where_none_is_chosen_a_list_with_neurons_is_shown(small: Dataset) -> None:
    """As in a project that was opened: its neurons are not behind an empty list without a name."""
    app = full(small, "neurons")
    app.session_state.session.pins = (PINS[0], PINS[2])
    app.session_state.session.set_notes({PINS[0]: NOTES[PINS[0]], PINS[2]: NOTES[PINS[2]]})
    app = run(app)
    assert app.selectbox(key=PIN_LIST).value == "Scratches"
    assert shown(app) == [3, 448]


def test_a_note_is_kept_and_a_list_gets_another_name(page: AppTest) -> None:
    page.text_area(key="note_15_mlp_hidden_276").set_value("  The  rim.\n ").run()
    page.text_input(key=f"rename_{UNNAMED}").set_value("Rims").run()
    here = page.session_state.session
    assert here.notes == {**NOTES, PINS[1]: Note("Rims", "The rim.")}
    assert page.selectbox(key=PIN_LIST).value == "Rims"
    assert shown(page) == [276]


def test_a_new_pin_goes_into_the_list_in_use_and_an_unpinned_neuron_loses_its_note(page: AppTest) -> None:
    page.selectbox(key=PIN_LIST).set_value("Scratches").run()
    press(page, "Pin this neuron")
    here = page.session_state.session
    pinned = here.pins[-1]
    assert pinned not in PINS
    assert here.notes[pinned] == Note("Scratches")
    page.button(key="unpin_15_mlp_hidden_3").click().run()
    assert PINS[0] not in here.notes
    assert PINS[0] not in here.pins


def test_a_neuron_of_a_project_that_the_backbone_lacks_is_left_out(page: AppTest) -> None:
    model = PINS[0].model
    page.session_state.session.pins = (Pin(model, 999, "mlp_hidden", 1), Pin(model, 15, "mlp_hidden", 10**6), PINS[1])
    run(page)
    assert shown(page) == [276]
    assert "hidden here: 2" in texts(page)


def test_the_table_has_a_row_for_each_neuron_list_by_list() -> None:
    table = table_of(PINS, NOTES)
    assert table.to_dict("records")[0] == {
        "list": "Scratches",
        "model": "lake-cnn",
        "image_size": 384,
        "layer": 15,
        "site": "mlp_hidden",
        "neuron": 3,
        "note": "Bright *edges*, [really](x)",
    }
    assert table["neuron"].tolist() == [3, 448, 276]
    assert table_of((), {}).empty


def test_in_the_text_what_was_typed_means_nothing_in_markdown() -> None:
    assert markdown_of(PINS, NOTES).splitlines() == [
        "## Scratches",
        "",
        r"- lake-cnn, layer 15, MLP hidden, neuron 3: Bright \*edges\*, \[really\](x)",
        "- lake-cnn, layer 15, MLP hidden, neuron 448",
        "",
        "## Pinned neurons",
        "",
        "- lake-cnn, layer 15, MLP hidden, neuron 276",
    ]
