"""Which models visitors may choose, by where the server listens and what it was started with; who may call it."""

from pathlib import Path
from typing import Any

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from dashboard.components.sidebar import OTHER
from dashboard.services import access
from dashboard.services.models import known_specs, model, offered_specs
from dashboard.settings import ModelKey
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.registry import SHIPPED
from lake_core.errors import BackboneError
from tests.dashboard.visit import forget_everything, opened, texts


@pytest.fixture
def opened_specs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is opened meanwhile, by a server that has just started."""
    found: list[str] = []

    def spy(asked: str, **options: Any) -> Any:
        found.append(asked)
        return open_backbone(asked, **options)

    monkeypatch.setattr("dashboard.services.models.open_backbone", spy)
    forget_everything()
    return found


def listening(monkeypatch: pytest.MonkeyPatch, address: str | None, *arguments: str) -> None:
    config.set_option("server.address", address)
    monkeypatch.setattr("sys.argv", ["asgi.py", *arguments])


SHARED: list[tuple[str | None, tuple[str, ...]]] = [
    ("0.0.0.0", ()),
    (None, ()),
    ("::", ()),
    ("192.168.1.4", ()),
    ("lab.local", ()),
    ("127.0.0.1", ("--allow-host", "lake.example.com")),
]


@pytest.mark.parametrize(("address", "arguments"), SHARED)
def test_visitors_of_a_shared_server_choose_from_what_comes_with_it(
    monkeypatch: pytest.MonkeyPatch, opened_specs: list[str], address: str | None, arguments: tuple[str, ...]
) -> None:
    listening(monkeypatch, address, *arguments)
    app = opened()
    picker = app.sidebar.selectbox(key="backbone_choice")
    assert picker.options == ["lake-cnn", "lake-vit"]
    assert not any(field.label == "Model" for field in app.text_input)
    for forged in (OTHER, "local-dir:/etc", "checkpoint:/etc/passwd@/etc/hosts", "ViT-L-14:openai", "hf-hub:evil/x"):
        picker = app.sidebar.selectbox(key="backbone_choice")
        picker.options.append(forged)  # a browser may answer whatever it likes
        picker.set_value(forged).run()
        assert not app.exception
        assert not any(field.label == "Model" for field in app.text_input)
        assert app.session_state.session.settings.spec in SHIPPED
    assert set(opened_specs) <= {"lake-cnn", "lake-vit"}


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_on_a_machine_of_ones_own_any_model_is_typed(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    listening(monkeypatch, address)
    app = opened()
    assert app.sidebar.selectbox(key="backbone_choice").options[-1] == OTHER
    listening(monkeypatch, address, "--allow-host", "notebook.localhost")
    assert access.allowed_models() is None


def test_the_operator_names_the_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = f"local-dir:{tmp_path}"
    for address in ("127.0.0.1", "0.0.0.0"):
        listening(monkeypatch, address, "--models", own, "--sample", "metal", "--models", "ViT-B-16:openai")
        assert access.allowed_models() == ("lake-cnn", own, "ViT-B-16:openai")
        assert known_specs() == ["lake-cnn", own]
        assert offered_specs() == ["ViT-B-16:openai"]
        for spec in ("lake-vit", "local-dir:/etc", "hf-hub:evil/x"):
            with pytest.raises(BackboneError, match="is not among the models of this server"):
                model(ModelKey(spec, None))


def test_a_link_chooses_no_model_that_the_operator_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    listening(monkeypatch, "0.0.0.0", "--models", "lake-cnn")
    app = AppTest.from_file(str(Path(access.__file__).parents[1] / "app.py"), default_timeout=120)
    app.query_params["model"] = "lake-vit"
    app.run()
    assert not app.exception
    assert app.session_state.session.settings.spec == "lake-cnn"
    assert "choose any other under Backbone" in texts(app)


def test_all_failures_of_files_read_alike(tmp_path: Path) -> None:
    kinds = {
        "missing": None,
        "empty": {},
        "no-json": {"open_clip_config.json": "password = 1"},
        "nested": {"open_clip_config.json": "[" * 100_000},
        "digits": {"open_clip_config.json": "[" + "1" * 5000 + "]"},
        "no-weights": {"open_clip_config.json": "{}"},
        "x" * 300: None,
        "~nobody-of-that-name/x": None,
        "nul\0": None,
    }
    said = set()
    for name, files in kinds.items():
        folder = tmp_path / name
        if files is not None:
            folder.mkdir()
            for file, text in files.items():
                (folder / file).write_text(text)
        for spec in (f"local-dir:{folder}", f"checkpoint:{folder}/w.pt@{folder}/open_clip_config.json"):
            with pytest.raises(BackboneError) as caught:
                model(ModelKey(spec, None))
            said.add(str(caught.value).replace(spec, "SPEC"))
    assert said == {"SPEC cannot be opened; in a terminal on the server, `lake models check SPEC` says why."}


def test_names_of_hosts() -> None:
    names = access.own_names(["lake.example.com", "*.class.example"])
    for host in ("lake.example.com", "a.class.example", "10.0.0.7", "::1", "localhost", "x.localhost"):
        assert access.knows_host(host, names), host
    for host in (
        "",
        "example.com",
        "evil-lake.example.com",
        "class.example",
        "10.0.0.7.evil.example",
        "localhost.evil",
    ):
        assert not access.knows_host(host, names), host
    assert access.host_of("LAKE.example.com.:8501") == "lake.example.com"
    assert access.host_of("[fe80::1%eth0]:80") == "fe80::1%eth0"
    for broken in ("", "a b", "u@host", "host:port", "host:99999999", "host/path", "a;b", "[::1", "x'y"):
        assert access.host_of(broken) == "", broken
