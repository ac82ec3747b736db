"""That `python -m tests.e2e.visitors` sees what it is for."""

from pathlib import Path

import numpy as np
import pytest

from dashboard import entry
from lake_core.backbones.backbone import Backbone
from lake_core.data.images import read_image
from tests.e2e.timed_dashboard import Account, Run, keep_account, read_account
from tests.e2e.visitors import N_IMAGES, Together, faults_of, images_of, report


def walks(**changes: float) -> tuple[list[Together], Account]:
    """Of the first visitor, one alone and two together, who change the page eight times each."""
    computing = {"alone": 0.1, "together": 0.15} | changes
    groups = [
        Together([1.0] * 8 * n, [["0.91"]] * n, begun=at, ended=at + 9, process_s=4.0 * n)
        for n, at in ((1, 0), (1, 10), (2, 20))
    ]
    runs = [Run(10 + n, 0.2, computing["alone"]) for n in range(8)]
    runs += [Run(20 + n / 2, 0.5, computing["together"]) for n in range(16)]
    return groups, Account(tuple(runs), N_IMAGES * 4)


def test_figures_are_those_of_a_page_change() -> None:
    lines = "\n".join(report(*walks(), 2))
    assert "2 of 2 walks completed" in lines
    assert "40 images through the network; 4 visitors had 10 each" in lines
    assert "by the clock (mean): 0.20 s alone, 0.50 s (2.5 x) with 2" in lines
    assert "of a processor (mean): 0.10 s alone, 0.15 s (1.5 x) with 2" in lines
    assert not faults_of(*walks(), 2)
    groups, account = walks()
    groups[2].begun = np.nan  # somebody's network never ran
    assert "of a processor (mean): 0.10 s alone, nan s" in "\n".join(report(groups, account, 2))


def test_other_results_a_second_pass_and_slow_pages_are_faults() -> None:
    groups, account = walks(together=0.21)
    groups[2].said[1] = ["0.90"]
    groups[2].faults.append("visitor 3: it broke")
    assert faults_of(groups, account._replace(n_images=41), 2) == [
        "visitor 3: it broke",
        "results differ: ['0.90'] instead of ['0.91']",
        "41 passes of an image through the network instead of 40",
        "a page change takes the server more than 2 times what it takes for one visitor",
    ]


def test_visitors_have_the_same_pixels_in_files_of_their_own(tmp_path: Path) -> None:
    one, other = ([read_image(path) for path in sorted(images_of(n, tmp_path / str(n)).glob("*/*"))] for n in range(2))
    assert len({image.sha256 for image in (*one, *other)}) == 2 * N_IMAGES
    assert all(np.array_equal(mine.rgb, theirs.rgb) for mine, theirs in zip(one, other, strict=True))


def test_runs_and_passes_are_counted_also_where_a_run_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moved(BaseException):
        """As what Streamlit raises to draw another page."""

    def draw(arguments: list[str]) -> None:
        if arguments:
            raise Moved
        Backbone.forward(None, [0] * 3)  # type: ignore[arg-type, call-arg]

    monkeypatch.setattr(entry, "run", draw)
    monkeypatch.setattr(Backbone, "forward", lambda *_: {})
    keep_account(tmp_path / "account")
    entry.run([])
    with pytest.raises(Moved):
        entry.run(["elsewhere"])
    found = read_account(tmp_path / "account")
    assert (len(found.runs), found.n_images) == (2, 3)
    assert found.runs[0].begun < found.runs[1].begun
