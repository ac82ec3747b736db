"""The sidebar's presets: the backbone's defaults, or what is known of the paper's settings."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.components import advanced
from lake_core.backbones.backbone import Backbone
from lake_core.config import PAPER_BACKBONE, PRESETS, LakeConfig

_DEFAULTS, _OWN = "defaults", "own"
_NAMES = {_DEFAULTS: "Defaults", "paper": "Paper (what is known)", _OWN: "Own"}
_HELP = (
    "Defaults: what suits the backbone. Paper: what is known, second hand, of the paper's settings: residual channels, "
    "the top 100 by variance, distances without scaling or averaging, the maximum over patches, w = 0.3. Its layers, "
    "image size, prompts and number of normal images are not known; layers are the backbone's defaults. The preset is "
    f"meant for {PAPER_BACKBONE}. Own: settings of which some are of neither."
)


def draw(backbone: Backbone) -> None:
    """The choice of a preset; it stands at the one that the other controls agree with, once they are settled."""
    values = {name: _values(LakeConfig(**PRESETS.get(name, {})), backbone) for name in (_DEFAULTS, *PRESETS)}
    fitting = [name for name, of_preset in values.items() if _holds(of_preset)] or [_OWN]
    if st.session_state.get("preset") not in fitting:
        st.session_state.preset = fitting[0]
    st.selectbox(
        "Preset",
        [*values, *({_OWN} & set(fitting))],
        key="preset",
        format_func=_NAMES.__getitem__,
        on_change=lambda: st.session_state.update(values[st.session_state.preset]),
        help=_HELP,
    )


def _values(config: LakeConfig, backbone: Backbone) -> dict[str, Any]:
    """What the controls stand at for a preset, by their keys."""
    chosen = config.resolved(backbone.recommended)
    layers = advanced.recommended_layers(backbone, chosen.site)
    n_neurons = max(backbone.layer(layer).n_neurons[chosen.site] for layer in layers)
    spec = backbone.spec
    return {
        f"site_{spec}": chosen.site,
        f"layers_{spec}_{chosen.site}": layers,
        "top_k": min(max(chosen.ks), n_neurons),
        "k_by_layer": False,
        "criterion": chosen.criterion,
        "fusion_weight": chosen.fusion_weight,
        f"normalise_{spec}": chosen.normalise,
        f"smooth_{spec}": chosen.smooth,
        "top_q": chosen.top_q,
        "memory_bank_size": chosen.memory_bank_size or advanced.ALL_PATCHES,
    }


def _holds(values: Mapping[str, Any]) -> bool:
    return all(st.session_state.get(key) == value for key, value in values.items())
