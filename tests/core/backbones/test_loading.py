"""A spec opens the model that was meant, with the activation and preprocessing it was trained with, or says why not."""

import json
import logging
import pickle
import socket
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import open_clip
import pytest
import torch
from huggingface_hub import close_session
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file
from torch import nn

from lake_core.backbones import hub, loading, registry
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.model_configs import read_config
from lake_core.backbones.opening import open_backbone
from lake_core.errors import BackboneError
from tests.core.tiny import FAMILIES, PREPROCESS, config_of, random_weights, write

QUICK_TAGS = [
    ("ViT-B-32", "openai"), ("ViT-B-32", "laion400m_e31"), ("ViT-B-32", "laion400m_e32"),
    ("ViT-B-32", "metaclip_400m"), ("ViT-B-32", "metaclip_fullcc"), ("ViT-B-16", "openai"), ("ViT-B-16", "dfn2b"),
    ("ViT-B-16", "metaclip_400m"), ("ViT-L-14", "openai"), ("ViT-L-14", "dfn2b"), ("ViT-L-14", "metaclip_fullcc"),
    ("ViT-L-14-336", "openai"), ("ViT-H-14", "dfn5b"), ("ViT-H-14", "metaclip_fullcc"), ("ViT-H-14-378", "dfn5b"),
    ("ViT-bigG-14", "metaclip_fullcc"), ("RN50", "openai"), ("RN50", "yfcc15m"), ("RN50", "cc12m"),
    ("RN101", "openai"), ("RN101", "yfcc15m"), ("RN50x4", "openai"), ("RN50x64", "openai"),
]  # fmt: skip
PLAIN_TAGS = [
    ("ViT-B-32", "laion2b_s34b_b79k"), ("ViT-B-32", "datacomp_xl_s13b_b90k"), ("ViT-B-16", "laion400m_e32"),
    ("ViT-B-16", "datacomp_xl_s13b_b90k"), ("ViT-L-14", "laion2b_s32b_b82k"), ("ViT-H-14", "laion2b_s32b_b79k"),
]  # fmt: skip
SIGLIP_STATISTICS = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bicubic"}
CLIP_STATISTICS = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28), "interpolation": "bicubic"}


class Runs:
    """Pickles to a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("native-vit", tmp_path_factory.mktemp("specs") / "model")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """An empty cache of the hub and a network that refuses; gives the connections that were tried."""
    tried: list[Any] = []

    def refuse(address: Any, *_args: Any, **_options: Any) -> socket.socket:
        tried.append(address)
        raise OSError("refused by the test")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    close_session()
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tried


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, no_network: list[Any]) -> Callable[..., None]:
    """Registers a tiny architecture with a tag whose weights lie in the hub's cache."""

    def register(tag: str, statistics: dict[str, Any], quick: bool, family: str = "native-vit") -> None:
        config = config_of(FAMILIES[family])["model_cfg"]
        repository = f"lake/tiny-{tag}"
        cfg = statistics | {"url": "", "hf_hub": f"{repository}/"} | ({"quick_gelu": True} if quick else {})
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit", config)
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit-quickgelu", config | {"quick_gelu": True})
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", {tag: cfg})
        snapshot = Path(hub_constants.HF_HUB_CACHE) / f"models--lake--tiny-{tag}"
        (snapshot / "refs").mkdir(parents=True)
        (snapshot / "refs" / "main").write_text("abc")
        (snapshot / "snapshots" / "abc").mkdir(parents=True)
        save_file(random_weights(family), snapshot / "snapshots" / "abc" / "open_clip_model.safetensors")

    return register


def message(spec: str, **options: Any) -> str:
    """The sentence with which a spec is refused; it must be one, and name the spec."""
    with pytest.raises(BackboneError) as caught:
        open_backbone(spec, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert spec in text
    assert text.endswith((".", "?"))
    assert len(text) < 600
    return text


def activations(backbone: Backbone) -> set[type]:
    visual = backbone._model.visual
    return {type(block.mlp.gelu) for block in [*visual.transformer.resblocks, *backbone._model.transformer.resblocks]}


# The activation function ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tag"), QUICK_TAGS)
def test_tags_trained_with_quickgelu_get_it(name: str, tag: str) -> None:
    cfg = open_clip.get_pretrained_cfg(name, tag)
    assert cfg.get("quick_gelu") is True
    architecture, notes = loading.architecture_of(name, tag)
    assert architecture == name
    assert "QuickGELU" in notes[0]
    assert loading.architecture_of(f"{name}-quickgelu", tag) == (f"{name}-quickgelu", ())


@pytest.mark.parametrize(("name", "tag"), PLAIN_TAGS)
def test_tags_trained_with_plain_gelu_keep_it_whatever_the_name_says(name: str, tag: str) -> None:
    assert loading.architecture_of(name, tag) == (name, ())
    if open_clip.get_model_config(f"{name}-quickgelu") is not None:
        architecture, notes = loading.architecture_of(f"{name}-quickgelu", tag)
        assert architecture == name
        assert "plain GELU" in notes[0]


def test_no_tag_is_left_with_an_activation_it_was_not_trained_with() -> None:
    for name, tag in open_clip.list_pretrained():
        cfg = open_clip.get_pretrained_cfg(name, tag)
        architecture, notes = loading.architecture_of(name, tag)
        quick = bool(cfg.get("quick_gelu")) or bool(open_clip.get_model_config(architecture).get("quick_gelu"))
        # roberta-ViT-B-32 has QuickGELU in its own configuration, of which its tag says nothing.
        assert quick == bool(cfg.get("quick_gelu", name == "roberta-ViT-B-32")), (name, tag)
        assert all(name in note and (f"so {name}" not in note) for note in notes)


@pytest.mark.parametrize(
    ("name", "quick", "expected", "note"),
    [
        ("tiny-vit", True, QuickGELU, "QuickGELU, which is used although tiny-vit names plain GELU"),
        ("tiny-vit-quickgelu", True, QuickGELU, None),
        ("tiny-vit", False, nn.GELU, None),
        ("tiny-vit-quickgelu", False, nn.GELU, "tiny-vit is used in place of tiny-vit-quickgelu"),
    ],
)
def test_the_opened_network_has_the_tags_activation(
    pretend: Callable[..., None], no_network: list[Any], name: str, quick: bool, expected: type, note: str | None
) -> None:
    pretend("made_up", CLIP_STATISTICS, quick)
    backbone = open_backbone(f"{name}:made_up")
    assert activations(backbone) == {expected}
    if note is None:
        assert backbone.notes == ()
    else:
        assert len(backbone.notes) == 1
        assert note in backbone.notes[0]
    assert no_network == []


def test_a_resnet_tag_with_quickgelu_has_it_in_the_text_tower(pretend: Callable[..., None]) -> None:
    pretend("made_up", CLIP_STATISTICS, True, "native-resnet")
    blocks = open_backbone("tiny-vit:made_up")._model.transformer.resblocks
    assert {type(block.mlp.gelu) for block in blocks} == {QuickGELU}


# Preprocessing and weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statistics", [SIGLIP_STATISTICS, CLIP_STATISTICS])
def test_a_tags_own_mean_and_deviation_are_used(pretend: Callable[..., None], statistics: dict[str, Any]) -> None:
    pretend("made_up", statistics, False)
    used = open_backbone("tiny-vit:made_up")._preprocess
    assert tuple(used["mean"]) == statistics["mean"]
    assert tuple(used["std"]) == statistics["std"]


def test_a_cached_hub_repository_opens_without_network(
    pretend: Callable[..., None], no_network: list[Any], folder: Path
) -> None:
    pretend("made_up", CLIP_STATISTICS, False)
    snapshot = Path(hub_constants.HF_HUB_CACHE) / "models--lake--tiny-made_up" / "snapshots" / "abc"
    (snapshot / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    backbone = open_backbone("hf-hub:lake/tiny-made_up")
    assert backbone._preprocess["mean"] == [0.45, 0.5, 0.4]
    weights = random_weights("native-vit")
    assert all(torch.equal(backbone._model.state_dict()[key], value) for key, value in weights.items())
    assert no_network == []
    config = json.loads((folder / "open_clip_config.json").read_text())
    del config["preprocess_cfg"]
    (snapshot / "open_clip_config.json").write_text(json.dumps(config))
    assert "does not say the preprocessing" in message("hf-hub:lake/tiny-made_up")


def test_siglip_tags_have_mean_one_half() -> None:
    cfg = open_clip.get_pretrained_cfg("ViT-B-16-SigLIP", "webli")
    assert tuple(cfg["mean"]) == tuple(cfg["std"]) == (0.5, 0.5, 0.5)


def test_the_weights_of_the_tag_are_loaded(pretend: Callable[..., None]) -> None:
    pretend("made_up", CLIP_STATISTICS, False)
    weights = random_weights("native-vit")
    state = open_backbone("tiny-vit:made_up")._model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in weights.items())


def test_a_checkpoint_with_its_configuration_equals_the_folder(folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"state_dict": random_weights("native-vit")}, weights)
    one = open_backbone(f"checkpoint:{weights}@{folder / 'open_clip_config.json'}")
    other = open_backbone(f"local-dir:{folder}")
    pixels = torch.randn(1, 3, 40, 40)
    for hook_point, tensor in one.forward(pixels, one.hook_points).items():
        torch.testing.assert_close(tensor, other.forward(pixels, {hook_point})[hook_point])
    assert one._preprocess["mean"] == other._preprocess["mean"] == [0.45, 0.5, 0.4]
    torch.testing.assert_close(one.encode_text(["a part"]), other.encode_text(["a part"]))


def test_opening_leaves_no_trace_in_the_process(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    known, level, filters = open_clip.list_models(), logging.getLogger().level, list(warnings.filters)
    weights = tmp_path / "weights.pt"
    torch.save(random_weights("native-vit"), weights)
    for _ in range(2):
        open_backbone(f"checkpoint:{weights}@{folder / 'open_clip_config.json'}")
    assert (open_clip.list_models(), logging.getLogger().level, list(warnings.filters)) == (known, level, filters)
    assert list(tmp_path.iterdir()) == [weights]


def test_a_quickgelu_folder_opens_with_quickgelu(tmp_path: Path) -> None:
    assert activations(open_backbone(f"local-dir:{write('native-vit-quickgelu', tmp_path / 'm')}")) == {QuickGELU}


def test_a_folders_hints_are_its_recommendation(tmp_path: Path) -> None:
    folder = write("native-vit", tmp_path / "m")
    (folder / "lake.json").write_text(
        '{"layers": [2, 3], "site": "residual_channel", "normalise": "none", "smooth": 1}'
    )
    recommended = open_backbone(f"local-dir:{folder}").recommended
    assert (recommended.layers, recommended.site, recommended.normalise, recommended.smooth) == (
        (2, 3), "residual_channel", "none", 1
    )  # fmt: skip
    (folder / "lake.json").write_text('{"layers": [2], "site": "neuron"}')
    assert "site" in message(f"local-dir:{folder}")


@pytest.mark.parametrize("name", ["lake-cnn", "lake-vit"])
def test_shipped_backbones_open_without_network(no_network: list[Any], name: str) -> None:
    assert open_backbone(name).encode_text(["a part"]).shape == (1, 256)
    assert no_network == []


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("lake-cmn", ["Did you mean lake-cnn?"]),
        ("ViT-B-61", ["Did you mean ViT-B-16?"]),
        ("", ["is not a backbone"]),
        ("ViT-B-16", ["architecture without weights", "ViT-B-16:openai"]),
        ("ViT-B-61:openai", ["no model 'ViT-B-61'", "Did you mean"]),
        ("ViT-B-16:opneai", ["no pretrained tag 'opneai'", "openai", "dfn2b"]),
        ("ViT-B-16:", ["is not a backbone"]),
        ("local-dir:", ["is not a backbone"]),
        ("local-dir:/no/such/folder", ["/no/such/folder does not exist"]),
        ("hf-hub:not a name/of a/repository", ["hf-hub:ORG/REPO"]),
        ("checkpoint:/no/weights.pt", ["checkpoint:WEIGHTS@CONFIG"]),
        ("checkpoint:/no/weights.pt@/no/config.json", ["/no/weights.pt does not exist"]),
    ],
)
def test_specs_that_cannot_be_opened_say_why(no_network: list[Any], spec: str, parts: list[str]) -> None:
    text = message(spec)
    for part in parts:
        assert part in text
    assert no_network == []


@pytest.mark.parametrize("spec", ["ViT-B-16:openai", "hf-hub:some/model", "ViT-B-16-SigLIP:webli"])
def test_an_unreachable_hub_is_answered_at_once(no_network: list[Any], spec: str) -> None:
    start = time.perf_counter()
    text = message(spec)
    assert "the hub cannot be reached" in text
    assert "refused by the test" in text
    assert "local-dir:FOLDER" in text
    assert {address[0] for address in no_network} == {"huggingface.co"}
    assert time.perf_counter() - start < 3


def test_a_hub_that_never_answers_is_given_up(no_network: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def connect(_address: Any, *_args: Any, **_options: Any) -> socket.socket:
            connection = socket.socket()
            connection.connect(silent.getsockname())
            return connection

        monkeypatch.setattr(socket, "create_connection", connect)
        monkeypatch.setattr(hub, "HUB_TIMEOUT_S", 0.3)
        start = time.perf_counter()
        assert "the hub cannot be reached" in message("ViT-B-16:openai")
        assert 0.2 < time.perf_counter() - start < 3


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (RemoteEntryNotFoundError, "has no open_clip_config.json; choose another one"),
        (RepositoryNotFoundError, "the hub refuses some/model (RepositoryNotFoundError); check its name"),
    ],
)
def test_what_the_hub_refuses_is_told(
    no_network: list[Any], monkeypatch: pytest.MonkeyPatch, error: type[HfHubHTTPError], part: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error.__new__(error, "the hub says no")

    monkeypatch.setattr(hub, "get_hf_file_metadata", refuse)
    assert part in message("hf-hub:some/model")


@pytest.mark.parametrize("spec", ["ViT-B-16:openai", "hf-hub:some/model"])
def test_offline_mode_is_answered_without_trying(
    no_network: list[Any], monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in message(spec)
    assert no_network == []


def test_weights_that_are_not_on_this_machine_are_not_listed(pretend: Callable[..., None]) -> None:
    assert registry.cached_pretrained() == []
    pretend("made_up", CLIP_STATISTICS, True)
    assert registry.cached_pretrained() == ["tiny-vit:made_up"]


def broken(folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """A spec of a copy of the folder with another configuration."""
    copy = tmp_path / "broken"
    copy.mkdir()
    config = json.loads((folder / "open_clip_config.json").read_text())
    text = change(config)
    (copy / "open_clip_config.json").write_text(text if isinstance(text, str) else json.dumps(config))
    (copy / "open_clip_model.safetensors").symlink_to(folder / "open_clip_model.safetensors")
    return f"local-dir:{copy}"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda config: '{"model_cfg": ', "not valid JSON"),
        (lambda config: "[1, 2]", "no model_cfg"),
        (lambda config: config.pop("model_cfg"), "no model_cfg"),
        (lambda config: config["model_cfg"].pop("text_cfg"), "no model_cfg"),
        (lambda config: config.pop("preprocess_cfg"), "does not say the preprocessing"),
        (lambda config: config["preprocess_cfg"].pop("std"), "std missing in preprocess_cfg"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(width=64), "do not fit"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(layers=2), "do not fit"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(nonsense=1), "model_cfg.vision_cfg.nonsense"),
        (lambda config: config["model_cfg"].update(vision_cfg=5), "no model_cfg"),
        (lambda config: config.update(preprocess_cfg=[1]), "does not say the preprocessing"),
        (lambda config: config["preprocess_cfg"].update(mean="grey"), "mean"),
        (lambda config: config["preprocess_cfg"].update(std=[0.5, 0.5]), "std"),
        (lambda config: config["preprocess_cfg"].update(std=[0.5, 0.5, 0]), "std"),
        (lambda config: config["model_cfg"]["text_cfg"].update(hf_tokenizer_name="/no/tokenizer"), "tokenizer"),
    ],
)
def test_a_broken_configuration_is_refused(
    folder: Path, tmp_path: Path, no_network: list[Any], change: Callable[[dict[str, Any]], Any], part: str
) -> None:
    assert part in message(broken(folder, tmp_path, change))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (
            lambda c: c["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"trust_remote_code": True}),
            "trust_remote_code",
        ),
        (lambda c: c["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"clean": ["whitespace"]}), "clean"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_tokenizer_kwargs={}), "text_cfg.hf_tokenizer_kwargs"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_model_name="/tmp/evil"), "'/tmp/evil'"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_model_name="../evil"), "'../evil'"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_tokenizer_name="hf-hub:evil/x"), "'hf-hub:evil/x'"),
        (lambda c: c["model_cfg"]["text_cfg"].update(norm_kwargs={"device": "meta"}), "norm_kwargs.device"),
        (lambda c: c["model_cfg"]["text_cfg"].update(width="32"), "text_cfg.width"),
        (lambda c: c["model_cfg"]["text_cfg"].update(width=True), "text_cfg.width"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(timm_model_name="hf-hub:evil/x"), "'hf-hub:evil/x'"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(timm_model_name="local-dir:/tmp/x"), "'local-dir:/tmp/x'"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(timm_model_name="no_such_net"), "'no_such_net'"),
        (lambda c: c["model_cfg"].update(cast_dtype="fp16"), "model_cfg.cast_dtype"),
        (
            lambda c: c["model_cfg"].update(multimodal_cfg={"trust_remote_code": True}),
            "multimodal_cfg.trust_remote_code",
        ),
        (lambda c: c["preprocess_cfg"].update(resize="squash"), "preprocess_cfg.resize"),
        (lambda c: c["preprocess_cfg"].update(mode="L", size="big"), "preprocess_cfg.size"),
    ],
)
def test_a_configuration_with_anything_unknown_opens_nothing(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, Any]], Any],
    part: str,
) -> None:
    spec = broken(folder, tmp_path, change)
    for name in ("create_model", "get_tokenizer"):
        monkeypatch.setattr(open_clip, name, lambda *_, **__: pytest.fail("something is opened"))
    assert part in message(spec)
    scheme = f"checkpoint:{tmp_path / 'broken/open_clip_model.safetensors'}@{tmp_path / 'broken/open_clip_config.json'}"
    assert part in message(scheme)


def test_every_configuration_that_open_clip_ships_passes(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_config.json"
    names = open_clip.list_models()
    assert len(names) > 100
    for name in names:
        config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": PREPROCESS}
        path.write_text(json.dumps(config))
        assert read_config(name, path) == json.loads(path.read_text())


class _Stranger:
    """Stands for transformers' AutoTokenizer and AutoConfig before a repository that needs its own Python."""

    asked: ClassVar[list[Any]] = []

    @classmethod
    def from_pretrained(cls, name: Any, trust_remote_code: bool | None = None, **_: Any) -> None:
        cls.asked.append((str(name), trust_remote_code))
        assert trust_remote_code is False, "the repository's Python would be run"
        raise ValueError("The repository contains custom code; please pass trust_remote_code=True.")


@pytest.mark.parametrize("key", ["hf_tokenizer_name", "hf_model_name"])
def test_a_text_side_that_needs_its_own_python_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    transformers = types.ModuleType("transformers")
    vars(transformers).update(AutoTokenizer=_Stranger, AutoConfig=_Stranger)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    monkeypatch.setattr(_Stranger, "asked", [])
    text = message(broken(folder, tmp_path, lambda config: config["model_cfg"]["text_cfg"].update({key: "evil/x"})))
    assert "a model's own Python is never run" in text
    hook_point = str(tmp_path / "broken") if key == "hf_tokenizer_name" else "evil/x"
    assert _Stranger.asked == [(hook_point, False)]


def test_folders_without_configuration_or_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "open_clip_config.json does not exist" in message(f"local-dir:{tmp_path / 'empty'}")
    (tmp_path / "empty" / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    assert "holds no weights" in message(f"local-dir:{tmp_path / 'empty'}")


def test_weights_that_are_no_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    config = folder / "open_clip_config.json"
    for name, data in (("weights.safetensors", b"hello"), ("weights.pt", b"hello"), ("weights.bin", b"")):
        (tmp_path / name).write_bytes(data)
        message(f"checkpoint:{tmp_path / name}@{config}")
    (tmp_path / "weights.txt").write_text("hello")
    assert ".safetensors, .bin, .pt, .pth" in message(f"checkpoint:{tmp_path / 'weights.txt'}@{config}")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert "do not fit" in message(f"checkpoint:{tmp_path / 'other.safetensors'}@{config}")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("hook_point", ["folder", "checkpoint.pt", "checkpoint.bin", "checkpoint.pth"])
def test_code_in_a_weights_file_is_refused_and_not_run(
    folder: Path, tmp_path: Path, form: str, hook_point: str
) -> None:
    mark = tmp_path / "code was run"
    weights = tmp_path / ("open_clip_pytorch_model.bin" if hook_point == "folder" else hook_point)
    if form == "torch":
        torch.save({"state_dict": Runs(mark)}, weights)
    else:
        weights.write_bytes(pickle.dumps(Runs(mark)))
    config = tmp_path / "open_clip_config.json"
    config.write_bytes((folder / "open_clip_config.json").read_bytes())
    message(f"local-dir:{tmp_path}" if hook_point == "folder" else f"checkpoint:{weights}@{config}")
    assert not mark.exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(weights, weights_only=True)


@pytest.mark.parametrize(
    ("spec", "size", "part"),
    [
        ("lake-cnn", 100, "multiple of 32"),
        ("lake-cnn", 32, "multiple of 32"),
        ("lake-cnn", 4096, "multiple of 32"),
        ("lake-vit", 4, "size"),
        ("lake-vit", 0, "size"),
        ("lake-vit", -8, "size"),
    ],
)
def test_sizes_that_the_model_cannot_take_are_refused(spec: str, size: int, part: str) -> None:
    assert part in message(spec, image_size=size)


def test_a_native_resnet_takes_its_own_size_only(tmp_path: Path) -> None:
    spec = f"local-dir:{write('native-resnet', tmp_path / 'm')}"
    assert "takes images of 64 pixels only" in message(spec, image_size=96)
    assert open_backbone(spec, image_size=64).input_size == (64, 64)
