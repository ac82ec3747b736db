"""The sidebar: five controls at once, the others under Advanced, what differs there is marked and can be put back."""

from typing import Any

from streamlit.testing.v1 import AppTest

from lake_core.config import LakeConfig
from tests.dashboard.visit import opened, press

AT_ONCE = ["Backbone", "Preset", "Object name", "Neurons kept per layer (K)", "Fusion weight (w)"]


def advanced(app: AppTest) -> Any:
    """The part under Advanced."""
    (found,) = [part for part in app.sidebar.expander if part.label.startswith("Advanced")]
    return found


def widgets(block: Any) -> list[str]:
    kinds = ("selectbox", "text_input", "slider", "select_slider", "multiselect", "radio")
    return [widget.label for kind in kinds for widget in block.get(kind)]


def test_five_controls_are_shown_at_once_and_the_others_under_advanced() -> None:
    app = opened()
    under = widgets(advanced(app))
    assert advanced(app).label == "Advanced"
    assert not advanced(app).button
    assert set(widgets(app.sidebar)) - set(under) == set(AT_ONCE)
    assert len(under) == 8


def test_what_differs_from_the_default_is_counted_marked_and_reset_at_once() -> None:
    app = opened()
    app.sidebar.slider(key="top_k").set_value(30)
    app.sidebar.multiselect(key="layers_lake-cnn_mlp_hidden").set_value([15, 12])
    app.sidebar.slider(key="top_q").set_value(3).run()
    assert advanced(app).label == "Advanced (2 changed)"
    assert [caption.value for caption in advanced(app).caption] == [
        ":primary[●] changed; default: 15",
        ":primary[●] changed; default: 1",
    ]
    press(app, "Reset these")
    assert advanced(app).label == "Advanced"
    assert not advanced(app).caption
    assert app.sidebar.multiselect(key="layers_lake-cnn_mlp_hidden").value == [15]
    assert app.sidebar.slider(key="top_k").value == 30, "K is not among them"
    assert app.session_state.session.settings.config.top_q == 1


def test_a_memory_bank_can_be_a_coreset() -> None:
    app = opened()
    bank = app.sidebar.selectbox(key="memory_bank_size")
    assert bank.options[:2] == ["all normal patches", "250 patches a layer"]
    bank.set_value(250).run()
    assert app.session_state.session.settings.config.memory_bank_size == 250
    assert ":primary[●] changed; default: all normal patches" in [one.value for one in advanced(app).caption]
    press(app, "Reset these")
    assert app.session_state.session.settings.config.memory_bank_size is None
    assert not app.exception


def test_the_papers_preset_sets_what_is_known_and_the_defaults_come_back() -> None:
    app = opened()
    preset = app.sidebar.selectbox(key="preset")
    assert (preset.value, preset.options) == ("defaults", ["Defaults", "Paper (what is known)"])
    preset.set_value("paper").run()
    config = app.session_state.session.settings.config
    assert config == LakeConfig.preset("paper", layers=(15,))
    assert app.sidebar.slider(key="top_k").value == 100
    assert app.sidebar.selectbox(key="preset").value == "paper"
    app.sidebar.slider(key="top_k").set_value(30).run()
    assert app.sidebar.selectbox(key="preset").value == "own"
    assert app.sidebar.selectbox(key="preset").options[-1] == "Own"
    app.sidebar.selectbox(key="preset").set_value("defaults").run()
    assert app.session_state.session.settings.config == LakeConfig(
        site="mlp_hidden", layers=(15,), normalise="unit", smooth=3
    )
    assert "Own" not in app.sidebar.selectbox(key="preset").options
    assert not app.exception


def test_where_the_defaults_are_the_papers_either_can_be_chosen() -> None:
    app = opened()
    app.sidebar.selectbox(key="backbone_choice").set_value("lake-vit").run()
    chosen = app.session_state.session.settings.config
    app.sidebar.selectbox(key="preset").set_value("paper").run()
    assert app.sidebar.selectbox(key="preset").value == "paper"
    assert app.session_state.session.settings.config == chosen


def test_a_k_for_each_layer_is_offered_where_there_are_several_layers() -> None:
    app = opened()
    assert not app.sidebar.toggle
    layers = app.sidebar.multiselect(key="layers_lake-cnn_mlp_hidden")
    layers.set_value([12, 15]).run()
    app.sidebar.toggle(key="k_by_layer").set_value(True).run()
    assert [one.label for one in app.sidebar.slider if "(K)" in one.label] == [
        "Neurons kept in layer 12 (K)",
        "Neurons kept in layer 15 (K)",
    ]
    app.sidebar.slider(key="k_of_15").set_value(60).run()
    assert app.session_state.session.settings.config.top_k == (100, 60)
    app.sidebar.multiselect(key="layers_lake-cnn_mlp_hidden").set_value([15]).run()
    assert app.session_state.session.settings.config.top_k == 60
    assert not app.sidebar.toggle
    assert not app.exception


def test_a_reset_leaves_nothing_changed_at_the_site_that_it_returns_to() -> None:
    app = opened()
    app.sidebar.multiselect(key="layers_lake-cnn_mlp_hidden").set_value([12]).run()
    app.sidebar.radio(key="site_lake-cnn").set_value("residual_channel").run()
    assert "changed" in advanced(app).label
    press(app, "Reset these")
    assert advanced(app).label == "Advanced"
    config = app.session_state.session.settings.config
    assert (config.site, config.layers) == ("mlp_hidden", (15,))
