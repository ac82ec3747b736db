"""The sidebar's Advanced part: parameters that few change, which of them differ from the default, and one reset."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from dashboard.words import SITE_NAMES
from lake_core.backbones.backbone import Backbone
from lake_core.config import NORMALISATIONS, LakeConfig, Normalise
from lake_core.criteria import criteria
from lake_core.types import SITES, Site

SIZES = (224, 256, 288, 320, 384, 448, 512)
DEFAULTS = LakeConfig()
SCALINGS: dict[Normalise, str] = {"unit": "scaled to unit length", "none": "not scaled"}
ALL_PATCHES = 0
BANK_SIZES = (ALL_PATCHES, 250, 500, 1000, 2000, 5000)
SQUARES = {1: "single patches", 3: "3 × 3 patches", 5: "5 × 5 patches"}


def settle_size(native: Backbone) -> int | None:
    """The input size as it stands; None for towers that take only their own.

    Args:
        native: The backbone at its own input size.
    """
    if not native.takes_any_size:
        return None
    return int(st.session_state.setdefault(f"size_{native.spec}", native.input_size[0]))


def settle(backbone: Backbone) -> tuple[Site, tuple[int, ...]]:
    """The activation site and the layers as they stand; what cannot be, or was never set, becomes the default."""
    state, key = st.session_state, f"site_{backbone.spec}"
    if state.get(key) not in _sites(backbone):
        state[key] = backbone.recommended.site
    site: Site = state[key]
    allowed, key = backbone.layers_with(site), f"layers_{backbone.spec}_{site}"
    kept = sorted(layer for layer in state.get(key, []) if layer in allowed)
    state[key] = kept or recommended_layers(backbone, site)
    for name, default in _defaults(backbone, backbone, site).items():
        state.setdefault(name, default)
    return site, tuple(state[key])


def draw(native: Backbone, backbone: Backbone) -> None:
    """The controls, once they are settled.

    Args:
        native: The backbone at its own input size.
        backbone: The same at the chosen one.
    """
    spec, state = backbone.spec, st.session_state
    site: Site = state[f"site_{spec}"]
    defaults = _defaults(native, backbone, site)
    changed = {name for name, default in defaults.items() if state[name] != default}
    label = f"Advanced ({len(changed)} changed)" if changed else "Advanced"
    with st.expander(label, key="advanced"):
        if changed:
            everything = _defaults(native, backbone, backbone.recommended.site) | defaults
            st.button(
                "Reset these", icon=":material/restart_alt:", on_click=_reset, args=(everything,), width="stretch"
            )
        for name, (pick, shown) in _controls(native, backbone, site).items():
            pick(name)
            if name in changed:
                st.caption(f":primary[●] changed; default: {shown(defaults[name])}")


def recommended_layers(backbone: Backbone, site: Site) -> list[int]:
    """The layers that suit a backbone at a site; where those that it recommends lack the site, the last that has it."""
    allowed = backbone.layers_with(site)
    return sorted(layer for layer in backbone.recommended.layers if layer in allowed) or [allowed[-1]]


def _defaults(native: Backbone, backbone: Backbone, site: Site) -> dict[str, Any]:
    """What each control stands at by default, by its key."""
    spec, suits = backbone.spec, backbone.recommended
    size = {f"size_{spec}": native.input_size[0]} if native.takes_any_size else {}
    return size | {
        f"site_{spec}": suits.site,
        f"layers_{spec}_{site}": recommended_layers(backbone, site),
        "criterion": DEFAULTS.criterion,
        f"normalise_{spec}": suits.normalise,
        f"smooth_{spec}": suits.smooth,
        "top_q": DEFAULTS.top_q,
        "memory_bank_size": ALL_PATCHES,
    }


def _controls(
    native: Backbone, backbone: Backbone, site: Site
) -> dict[str, tuple[Callable[[str], object], Callable[[Any], str]]]:
    """For each key what draws the control, and what puts a value of it in words."""
    spec = backbone.spec
    size = {f"size_{spec}": (lambda key: _pick_size(key, native), str)} if native.takes_any_size else {}
    return size | {
        f"site_{spec}": (lambda key: _pick_site(key, backbone), SITE_NAMES.__getitem__),
        f"layers_{spec}_{site}": (lambda key: _pick_layers(key, backbone, site), lambda layers: str(layers)[1:-1]),
        "criterion": (_pick_criterion, lambda name: criteria()[name].title),
        f"normalise_{spec}": (_pick_scaling, SCALINGS.__getitem__),
        f"smooth_{spec}": (_pick_smooth, _square),
        "top_q": (_pick_top_q, str),
        "memory_bank_size": (_pick_bank_size, _bank_size),
    }


def _reset(defaults: Mapping[str, Any]) -> None:
    for name, default in defaults.items():
        st.session_state[name] = default


def _sites(backbone: Backbone) -> list[Site]:
    return [site for site in SITES if backbone.layers_with(site)]


def _pick_size(key: str, native: Backbone) -> None:
    st.select_slider(
        "Input size (pixels)",
        sorted({*SIZES, native.input_size[0], st.session_state[key]}),
        key=key,
        help="A larger input shows finer defects and takes longer. Changing it runs the network again.",
    )


def _pick_site(key: str, backbone: Backbone) -> None:
    st.radio(
        "Activation site",
        _sites(backbone),
        key=key,
        format_func=SITE_NAMES.__getitem__,
        help="Where in a layer activations are read. MLP hidden: inside of the block, after its activation function. "
        "Residual channel: the output of the block.",
    )


def _pick_layers(key: str, backbone: Backbone, site: Site) -> None:
    st.multiselect(
        f"Layers (of {len(backbone.layers)})",
        backbone.layers_with(site),
        key=key,
        help="A layer is one block of the image tower; layer 1 is at the input. The layers' maps are averaged.",
    )


def _pick_criterion(key: str) -> None:
    st.selectbox(
        "Sensitivity criterion",
        list(criteria()),
        key=key,
        format_func=lambda name: criteria()[name].title,
        help="How neurons are ranked. The two controls show what selecting is worth.",
    )


def _pick_scaling(key: str) -> None:
    st.selectbox("Activations of the selected neurons", NORMALISATIONS, key=key, format_func=SCALINGS.__getitem__)


def _pick_smooth(key: str) -> None:
    st.selectbox("Averaged over", sorted({*SQUARES, st.session_state[key]}), key=key, format_func=_square)


def _square(side: int) -> str:
    return SQUARES.get(side, f"{side} × {side} patches")


def _pick_top_q(key: str) -> None:
    most = max(20, st.session_state[key])  # a project may have more
    st.slider("Image score: mean of the top … patches", 1, most, key=key, help="1 is the maximum.")


def _pick_bank_size(key: str) -> None:
    st.selectbox(
        "Memory bank",
        sorted({*BANK_SIZES, st.session_state[key]}),
        key=key,
        format_func=_bank_size,
        help="Normal patches kept in each layer, as far from each other as can be (a coreset). Fewer need less memory "
        "and are searched faster; with a few normal images there is no need.",
    )


def _bank_size(size: int) -> str:
    return "all normal patches" if size == ALL_PATCHES else f"{size} patches a layer"
