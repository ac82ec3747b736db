"""`lake dashboard`: a free port, the printed address, and what Streamlit is given."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from lake_core.cli import dashboard
from lake_core.errors import BackboneError, ConfigError
from tests.core.cli.commands import error_line, lake


def free_pair() -> int:
    """A port that is free, as is the one after it."""
    for port in range(20000 + os.getpid() % 20000, 65000, 7):
        if dashboard.free_port("127.0.0.1", port) == port:
            with socket.create_server(("127.0.0.1", port)):
                if dashboard.free_port("127.0.0.1", port) == port + 1:
                    return port
    raise AssertionError("no free pair of ports")


def test_a_taken_port_gives_the_next_free_one() -> None:
    first = free_pair()
    assert dashboard.free_port("127.0.0.1", first) == first
    with socket.create_server(("127.0.0.1", first)):
        assert dashboard.free_port("127.0.0.1", first) == first + 1
        assert dashboard.free_port("0.0.0.0", first) == first + 1


def test_no_free_port_and_no_such_host_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_pair()
    monkeypatch.setattr(dashboard, "_TRIES", 1)
    with socket.create_server(("127.0.0.1", first)), pytest.raises(ConfigError, match=f"No port from {first}"):
        dashboard.free_port("127.0.0.1", first)
    with pytest.raises(ConfigError, match="cannot listen at 192\\.0\\.2\\.1"):
        dashboard.free_port("192.0.2.1", first)


def test_the_port_comes_from_the_option_else_the_environment_else_8501(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORT", raising=False)
    assert dashboard.wanted_port() == 8501
    monkeypatch.setenv("PORT", "9123")
    assert dashboard.wanted_port() == 9123
    for wrong in ("http", "0", "70000", "-1", "1" * 5000):
        monkeypatch.setenv("PORT", wrong)
        with pytest.raises(ConfigError, match="PORT is"):
            dashboard.wanted_port()
    assert dashboard.address("0.0.0.0", 8501) == "http://127.0.0.1:8501"
    assert dashboard.address("::1", 8501) == "http://[::1]:8501"


def test_an_unknown_sample_is_wrong_usage() -> None:
    assert "There is no sample 'moon'" in error_line(lake("dashboard", "--sample", "moon", "--headless"), code=2)


def test_streamlit_gets_the_flags_and_the_script_its_sample() -> None:
    begin = dashboard.Begin(sample="metal", memory=0.5)
    arguments = dashboard.streamlit_arguments(Path("x/app.py"), "127.0.0.1", 8502, begin)
    assert arguments[:2] == ["run", str(Path("x/app.py"))]
    assert arguments[-5:] == ["--", "--sample", "metal", "--memory", "0.5"]
    flags = dict(zip(arguments[2:-5:2], arguments[3:-5:2], strict=True))
    assert flags == {
        "--server.address": "127.0.0.1",
        "--server.port": "8502",
        "--server.headless": "true",
        "--server.fileWatcherType": "none",
        "--server.maxUploadSize": "300",
        "--browser.gatherUsageStats": "false",
        "--client.showErrorDetails": "none",
        "--client.toolbarMode": "minimal",
        "--logger.hideWelcomeMessage": "true",
        "--runner.magicEnabled": "false",
    }


def test_a_read_only_server_is_told_so_and_takes_no_large_files() -> None:
    arguments = dashboard.streamlit_arguments(Path("app.py"), "0.0.0.0", 8501, dashboard.Begin(read_only=True))
    assert arguments[-2:] == ["--", "--read-only"]
    assert arguments[arguments.index("--server.maxUploadSize") + 1] == "1"


def test_the_script_gets_store_data_and_days_with_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    handed: list[dashboard.Begin] = []
    monkeypatch.setattr(dashboard, "launch", lambda port, host, begin, open_browser: handed.append(begin))
    assert lake("dashboard", "--store", "kept", "--keep-days", 30, "--data", tmp_path, "--headless").exit_code == 0
    arguments = handed[0].arguments()
    assert dict(zip(arguments[::2], arguments[1::2], strict=True)) == {
        "--store": str(tmp_path / "kept"),
        "--data": str(tmp_path),
        "--keep-days": "30.0",
    }
    assert lake("dashboard", "--keep-days", 0, "--headless").exit_code == 2


def test_models_and_names_of_the_server_are_handed_on_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[dashboard.Begin] = []
    monkeypatch.setattr(dashboard, "launch", lambda port, host, begin, open_browser: handed.append(begin))
    options = ("--models", "lake-vit", "--models", "local-dir:x", "--allow-host", "a.example", "--allow-host", "b")
    assert lake("dashboard", "--host", "0.0.0.0", *options, "--headless").exit_code == 0
    assert handed[0].arguments() == list(options)


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (dashboard.Begin(models=("lake-cn",)), "Did you mean lake-cnn"),
        (dashboard.Begin(hosts=("http://a.example",)), "without http:// and port"),
        (dashboard.Begin(hosts=("a.example:80",)), "without http:// and port"),
        (dashboard.Begin(hosts=("*",)), "no name of a host"),
    ],
)
def test_a_name_that_is_none_is_said_before_anything_starts(begin: dashboard.Begin, said: str) -> None:
    with pytest.raises((ConfigError, BackboneError), match=said):
        dashboard.launch(begin=begin, open_browser=False)


def test_the_dashboard_answers_at_the_address_that_is_printed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import streamlit as st\nst.write('hello')\n")
    first = free_pair()
    code = (
        "from pathlib import Path; from lake_core.cli.dashboard import launch; "
        f"launch({first}, open_browser=False, app=Path({str(tmp_path / 'app.py')!r}))"
    )
    with socket.create_server(("127.0.0.1", first)):
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == f"LAKE Explorer: http://127.0.0.1:{first + 1}"
            assert _answer(f"http://127.0.0.1:{first + 1}/_stcore/health", process) == "ok"
        finally:
            process.terminate()
            process.wait(30)


def _answer(url: str, process: "subprocess.Popen[str]") -> str:
    for _ in range(150):
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return str(response.read().decode())
        except OSError:
            assert process.poll() is None, "the dashboard stopped"
            time.sleep(0.2)
    raise AssertionError("the dashboard does not answer")
