"""The page Neurons where the same file is among the normal and the test images."""

from dataclasses import replace

from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from tests.dashboard.visit import opened


def test_the_same_file_among_normal_and_test_images_is_looked_at_as_a_test_image(small: Dataset) -> None:
    both = replace(small.normals[0], label="good")
    app = opened(Workspace(small.normals, (both, *small.tests), "metal"), "neurons")
    app.run()
    for side in ("Test images", "Normal images"):
        app.button(key=f"card_{side}_{both.image.sha256}").click().run()
        assert not app.exception
    picker = next(box for box in app.selectbox if box.label.startswith("Image ("))
    assert sum("test · " in option for option in picker.options) == len(small.tests) + 1


def test_patches_of_the_same_file_on_both_sides_are_two_buttons(small: Dataset) -> None:
    both = replace(small.normals[0], label="good")
    app = opened(Workspace(small.normals[:1], (both,), "metal"), "neurons")
    crops = [button.key for button in app.button if button.key and button.key.startswith("crop_False")]
    assert len(crops) == 4  # two of each side
