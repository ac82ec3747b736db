"""The shared sidebar: backbone, preset, object name, K and w on every page, and what few change under Advanced."""

from dataclasses import replace

import streamlit as st

from dashboard.components import advanced, presets, top_k
from dashboard.components.downloads import arrived, begin, begin_anew, forget_ended, show_download
from dashboard.components.page import error
from dashboard.services.access import allowed_models
from dashboard.services.analysis import filled
from dashboard.services.models import known_specs, model, must_be_downloaded, offered_specs
from dashboard.session import Session, current
from dashboard.settings import ModelKey, Settings
from dashboard.text import escaped
from lake_core.backbones.catalogue import UNTUNED, offered
from lake_core.backbones.registry import DEFAULT_BACKBONE
from lake_core.config import TextConfig
from lake_core.errors import LakeError

OTHER = "another model …"
ABOUT = {
    "lake-cnn": "ImageNet's EfficientNet-Lite2, frozen, with a small text tower. Its neurons never saw a defect.",
    "lake-vit": "A small ViT of our own, trained on synthetic defects: for comparison only. It is no evidence of "
    "latent knowledge of defects.",
}
NO_NAME = TextConfig().object_name


def draw() -> Settings | None:
    """Draws the sidebar.

    Widgets that have no value yet, or lost it because they were not drawn for a while, take it from the session's
    settings.

    Returns:
        The settings as they stand, or None if the backbone cannot be opened (which is said).
    """
    kept = current().settings
    _take_arrived()
    _set_widgets(kept)
    with st.sidebar:
        st.subheader("Configuration", anchor=False)
        spec = _pick_backbone()
        if spec is None:
            return None
        try:
            native = model(ModelKey(spec, None)).backbone
            image_size = advanced.settle_size(native)
            backbone = model(ModelKey(spec, image_size)).backbone
        except LakeError as reason:
            error(str(reason))
            return None
        if not backbone.is_tuned:
            st.caption(UNTUNED)
        site, layers = advanced.settle(backbone)
        presets.draw(backbone)
        _pick_name()
        k = top_k.draw({layer: backbone.layer(layer).n_neurons[site] for layer in layers})
        _pick_weight()
        advanced.draw(native, backbone)
    state = st.session_state
    config = replace(
        kept.config,  # with what has no widget here: seed, quantiles and prompts
        site=site,
        layers=layers,
        top_k=k,
        criterion=state.criterion,
        fusion_weight=state.fusion_weight,
        object_name=state.object_name,
        normalise=state[f"normalise_{spec}"],
        smooth=state[f"smooth_{spec}"],
        top_q=state.top_q,
        memory_bank_size=state.memory_bank_size or None,
    )
    return Settings(spec, image_size, config)


def unseen() -> Settings | None:
    """The settings where there is no sidebar, as it would give them; None if the backbone cannot be opened, as said."""
    try:
        return filled(current().settings)
    except LakeError as reason:
        error(str(reason))
        return None


def shared(here: Session) -> None:
    """In place of the controls: what a shared project was made with."""
    settings, config = here.settings, here.settings.config
    _set_widgets(settings, anew=True)  # pages read some of them
    with st.sidebar:
        st.subheader("Shared project", anchor=False)
        layers = ", ".join(map(str, config.layers or ()))
        st.markdown(
            f"**{escaped(here.workspace.name)}**  \nBackbone: {escaped(settings.spec)}  \nObject: "
            f"{escaped(config.object_name)}  \n"
            + (f"Layers: {layers}  \n" if layers else "")
            + f"K: {', '.join(map(str, config.ks))}  \nFusion weight: {config.fusion_weight:g}"
        )
        st.caption("It stays as it is; a copy is yours to change.")


def take(settings: Settings) -> None:
    """Sets the sidebar to other settings; only before it is drawn, as in a button's callback."""
    here = current()
    if settings.config.prompts != here.settings.config.prompts:
        here.prompt_texts = None
    here.set_settings(settings)
    _set_widgets(settings, anew=True)


def _set_widgets(kept: Settings, anew: bool = False) -> None:
    choice, config = _choice_of(kept.spec), kept.config
    values = {
        "backbone_choice": choice,
        "other_spec": kept.spec if choice == OTHER else "",
        "criterion": config.criterion,
        "fusion_weight": config.fusion_weight,
        "top_q": config.top_q,
        "memory_bank_size": config.memory_bank_size or advanced.ALL_PATCHES,
        "object_name": "" if config.object_name == NO_NAME else config.object_name,
        f"size_{kept.spec}": kept.image_size,
        f"site_{kept.spec}": config.site,
        f"layers_{kept.spec}_{config.site}": list(config.layers) if config.layers else None,
        f"normalise_{kept.spec}": config.normalise,
        f"smooth_{kept.spec}": config.smooth,
    } | top_k.values(config)
    for name, value in values.items():
        if value is not None and (anew or name not in st.session_state):
            st.session_state[name] = value


def _pick_backbone() -> str | None:
    st.session_state.setdefault("backbone_choice", DEFAULT_BACKBONE)
    choice = st.selectbox(
        "Backbone",
        [*known_specs(), *offered_specs(), *([OTHER] if _may_type() else [])],
        key="backbone_choice",
        format_func=_backbone_label,
        on_change=_choose_backbone,
        help="The pretrained network that is looked into. One that is not on this machine is downloaded first.",
    )
    is_typed = choice == OTHER and _may_type()
    spec = _type_spec() if is_typed else str(choice)
    if not is_typed:
        st.caption(_about(str(choice)))
    elif spec is not None and must_be_downloaded(spec):
        begin(spec)
        in_use = current().settings.spec
        spec = None if must_be_downloaded(in_use) else in_use
    show_download()
    return spec


def _may_type() -> bool:
    """Whether visitors of this server may name any model."""
    return allowed_models() is None


def _choice_of(spec: str) -> str:
    """The option of the picker that stands for a model."""
    if spec in known_specs():
        return spec
    return OTHER if _may_type() else DEFAULT_BACKBONE


def _type_spec() -> str | None:
    spec = st.text_input(
        "Model",
        key="other_spec",
        placeholder="ViT-B-16:openai or local-dir:/path",
        help="NAME:TAG of open_clip (needs the hub once), local-dir:FOLDER, or checkpoint:WEIGHTS@CONFIG.",
    ).strip()
    if not spec:
        st.info("Enter an open_clip model, such as ViT-B-16:openai.", icon=":material/edit:")
    return spec or None


def _backbone_label(spec: str) -> str:
    one = offered(spec)
    return (
        spec
        if one is None or spec in known_specs()
        else f"{one.title} ↓ {one.n_megabytes / 1000:.1f} GB, {one.licence}"
    )


def _about(spec: str) -> str:
    one = offered(spec)
    return f"{one.about} Licence: {one.licence}." if one is not None else ABOUT.get(spec, "")


def _choose_backbone() -> None:
    """Begins the download of a model that is not here; until it is, the choice stays what it was."""
    choice = st.session_state.backbone_choice
    if choice in offered_specs():
        begin_anew(choice)
        st.session_state.backbone_choice = _choice_of(current().settings.spec)
    else:
        forget_ended()


def _take_arrived() -> None:
    """Chooses a model that was downloaded just now."""
    spec = arrived()
    if spec is not None:
        st.session_state.backbone_choice = choice = _choice_of(spec)
        st.session_state.other_spec = spec if choice == OTHER else ""


def _pick_name() -> None:
    st.text_input(
        "Object name",
        key="object_name",
        placeholder=NO_NAME,
        max_chars=60,
        help="What the images show; it is put into the text prompts.",
    )


def _pick_weight() -> None:
    st.slider(
        "Fusion weight (w)",
        0.0,
        1.0,
        step=0.05,
        key="fusion_weight",
        help="How much the text part counts: score = (1 − w) × visual + w × text. The paper's best is about 0.3.",
    )
