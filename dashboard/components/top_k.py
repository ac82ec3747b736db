"""K in the sidebar: one slider for all layers or, where there are several and it is asked for, one for each layer."""

from collections.abc import Mapping, Sequence

import streamlit as st

from lake_core.config import LakeConfig

_BY_LAYER = "k_by_layer"
_HELP = (
    "A neuron is one number that a layer computes at every patch of the image. Neurons are ranked by how sensitive "
    "they are over the normal patches; the K most sensitive of each layer are kept."
)


def values(config: LakeConfig) -> dict[str, int | bool]:
    """What the controls stand at for a configuration, by their keys."""
    of_layers = {_key(layer): config.k_of(layer) for layer in config.layers or ()}
    return of_layers | {"top_k": max(config.ks), _BY_LAYER: len(config.ks) > 1}


def draw(n_neurons: Mapping[int, int]) -> int | tuple[int, ...]:
    """The controls, and K as in `LakeConfig`.

    Args:
        n_neurons: Layer number -> its neurons, in ascending order of the chosen layers.
    """
    layers, state = tuple(n_neurons), st.session_state
    if is_by_layer() and len(layers) == 1:
        state.update({"top_k": state.get(_key(layers[0]), state.top_k), _BY_LAYER: False})
    if is_by_layer():
        found: int | tuple[int, ...] = tuple(
            _slider(f"Neurons kept in layer {layer} (K)", _key(layer), n_neurons[layer]) for layer in layers
        )
    else:
        found = _slider("Neurons kept per layer (K)", "top_k", max(n_neurons.values()))
    if len(layers) > 1:
        st.toggle("K for each layer", key=_BY_LAYER, on_change=_switch, args=(layers,))
    return found


def is_by_layer() -> bool:
    """Whether each layer has a K of its own."""
    return bool(st.session_state.get(_BY_LAYER))


def set_for_all(k: int) -> None:
    """Sets the one K; only before the sidebar is drawn, as in a button's callback."""
    st.session_state.top_k = k


def set_for_layer(k: int, layer: int) -> None:
    """Sets a layer's own K; only before the sidebar is drawn, as in a button's callback."""
    st.session_state[_key(layer)] = k


def _key(layer: int) -> str:
    return f"k_of_{layer}"


def _slider(label: str, key: str, n_neurons: int) -> int:
    state = st.session_state
    state[key] = min(state.get(key, state.top_k), n_neurons)
    return st.slider(label, 1, n_neurons, key=key, help=_HELP)


def _switch(layers: Sequence[int]) -> None:
    """Begins where the other way of setting K ended."""
    state = st.session_state
    if is_by_layer():
        state.update({_key(layer): state.top_k for layer in layers})
    else:
        state.top_k = max(state[_key(layer)] for layer in layers)
