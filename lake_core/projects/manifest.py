"""What a saved analysis says of itself: its manifest, read strictly and within limits (docs/project-file.md)."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lake_core.backbones.patch_grid import Resize
from lake_core.config import LakeConfig, Normalise
from lake_core.data.labels import safe_path
from lake_core.errors import ConfigError, ProjectError
from lake_core.prompts import MAX_CHARACTERS
from lake_core.types import Label, Site

SCHEMA = 1
"""Raised whenever an older program could no longer read what is written."""
MAX_IMAGES = 400
"""On each side; more belongs to `lake score` and `lake evaluate`, which do not hold all images at once."""
MAX_PINS = 500
MAX_NOTE = 500
MAX_CONFIGURATIONS = 26
MAX_PROMPTS = 4000
MAX_BYTES = 5_000_000

Kind = TypeVar("Kind", bound=BaseModel)
Sha256: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Words: TypeAlias = Annotated[str, StringConstraints(max_length=200)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=10_000_000)]
FromOne: TypeAlias = Annotated[int, Field(ge=1, le=10_000_000)]
Number: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Phrase: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]
Phrases: TypeAlias = Annotated[tuple[Phrase, ...], Field(max_length=200)]


class Part(BaseModel):
    """A part of the manifest: nothing unknown, no number that is none, and no type in place of another."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SavedPrompts(Part):
    """The prompt ensemble, as in `PromptEnsemble`."""

    normal_states: Phrases
    anomalous_states: Phrases
    templates: Phrases


class Parameters(Part):
    """The method's parameters, as in `LakeConfig`; None is the backbone's recommendation."""

    layers: Annotated[tuple[FromOne, ...], Field(max_length=200)] | None
    site: Site | None
    top_k: FromOne | Annotated[tuple[FromOne, ...], Field(min_length=1, max_length=200)]
    criterion: Words
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    normalise: Normalise | None
    smooth: Annotated[int, Field(ge=1, le=49)] | None
    calibration_quantile: Share
    memory_bank_size: Annotated[int, Field(ge=2, lt=2**31)] | None = None
    object_name: Words
    prompts: SavedPrompts
    fusion_weight: Share
    top_q: FromOne
    threshold_quantile: Share


class Configuration(Part):
    """A backbone, how images are laid into its input, and the method's parameters.

    Attributes:
        spec: As for `open_backbone`, without paths of the machine on which it was saved.
        image_size: Side of the square input in pixels; None is the backbone's own.
    """

    spec: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    image_size: Annotated[int, Field(ge=64, le=2048)] | None = None
    resize: Resize = "squash"
    parameters: Parameters

    @model_validator(mode="after")
    def _holds_a_configuration(self) -> "Configuration":
        prompts = self.parameters.prompts
        n_prompts = (len(prompts.normal_states) + len(prompts.anomalous_states)) * len(prompts.templates)
        if n_prompts > MAX_PROMPTS:
            raise ValueError(f"{n_prompts} prompts are more than the {MAX_PROMPTS} allowed")
        try:
            self.config()
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return self

    def config(self) -> LakeConfig:
        """The method's parameters."""
        return LakeConfig.from_dict(self.parameters.model_dump())

    @classmethod
    def of(cls, spec: str, image_size: int | None, config: LakeConfig, resize: Resize = "squash") -> "Configuration":
        """What is written of a configuration.

        Raises:
            ProjectError: if it cannot be kept in a project.
        """
        return checked(cls, {"spec": spec, "image_size": image_size, "resize": resize, "parameters": config.as_dict()})


class SavedImage(Part):
    """An image by its content, with what is known of it; see `Example`.

    Attributes:
        name: Relative path with forward slashes.
        sha256: Of its file, which lies in the project under this name.
        mask: sha256 of a PNG of the image's size, above 0 where defect; None where there is none.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    sha256: Sha256
    label: Label | None = None
    kind: Words | None = None
    mask: Sha256 | None = None

    @model_validator(mode="after")
    def _has_a_safe_name(self) -> "SavedImage":
        if safe_path(self.name).as_posix() != self.name or not self.name.isprintable():
            raise ValueError(f"{self.name!r} is no relative path of an image")
        return self


class PinnedNeuron(Part):
    """A neuron in a named list, with a sentence on it; "" is the list without a name."""

    spec: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    image_size: Annotated[int, Field(ge=64, le=2048)] | None
    layer: FromOne
    site: Site
    neuron: Count
    in_list: Words = ""
    note: Annotated[str, StringConstraints(max_length=MAX_NOTE)] = ""


class Chosen(Part):
    """The selection that all pages share; each part is None where nothing is chosen."""

    image: Sha256 | None = None
    layer: FromOne | None = None
    neuron: Count | None = None
    patch: Count | None = None


class ImageScores(Part):
    """The three numbers of a test image: score = (1 - w) * visual + w * text."""

    score: Number
    visual: Number
    text: Number


class SavedScores(Part):
    """Scores as they were computed when the project was saved, to check others against.

    Attributes:
        threshold: That the normal images give.
        normals: sha256 of a normal image -> its leave-one-out score.
        tests: sha256 of a test image -> its numbers.
    """

    threshold: Number
    normals: dict[Sha256, Number]
    tests: dict[Sha256, ImageScores]


class MadeWith(Part):
    """Versions and files that scores depend on.

    Attributes:
        versions: Name of a package -> its version.
        method: Version of the method.
        device: Name of the processor or GPU.
        weights: File name -> sha256 of the model's weights and configuration; empty where they were not at hand.
    """

    versions: Annotated[dict[Words, Words], Field(max_length=20)]
    method: Count
    device: Words
    weights: Annotated[dict[Words, Sha256], Field(max_length=100)]


class Manifest(Part):
    """All that a project says; the files that it names lie beside it.

    Attributes:
        name: What the images are.
        sample: The built-in sample that was opened; "" if none was.
        own_threshold: Set by the user; None is the one that the normal images give.
        pins: Pinned neurons, in the order in which they were pinned.
        compared: Configurations kept to be compared: A, B, C ...
        scores: None where nothing was computed.
    """

    format: Literal["lake-project"] = "lake-project"
    schema_version: Literal[1] = 1
    name: Words
    sample: Words = ""
    normals: Annotated[tuple[SavedImage, ...], Field(max_length=MAX_IMAGES)]
    tests: Annotated[tuple[SavedImage, ...], Field(max_length=MAX_IMAGES)]
    configuration: Configuration
    own_threshold: Number | None = None
    pins: Annotated[tuple[PinnedNeuron, ...], Field(max_length=MAX_PINS)] = ()
    compared: Annotated[tuple[Configuration, ...], Field(max_length=MAX_CONFIGURATIONS)] = ()
    chosen: Chosen = Chosen()
    made_with: MadeWith
    scores: SavedScores | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Manifest":
        for side, images in (("normal", self.normals), ("test", self.tests)):
            _check_distinct(f"{side} images have one name", [image.name for image in images])
            _check_distinct(f"{side} images have one sha256", [image.sha256 for image in images])
        if any(image.label == "defective" or image.mask for image in self.normals):
            raise ValueError("a normal image is labelled defective, or has a mask")
        normals, tests = ({image.sha256 for image in images} for images in (self.normals, self.tests))
        if self.scores is not None and (self.scores.normals.keys() != normals or self.scores.tests.keys() != tests):
            raise ValueError("the scores are those of other images")
        return self

    @property
    def images(self) -> tuple[SavedImage, ...]:
        """The normal ones, then the others."""
        return (*self.normals, *self.tests)

    @property
    def files(self) -> frozenset[str]:
        """sha256 of all files that it names."""
        return frozenset(name for image in self.images for name in (image.sha256, image.mask) if name is not None)

    def as_json(self) -> bytes:
        """What is written of it: the same bytes for the same manifest."""
        return self.model_dump_json(indent=1).encode() + b"\n"


class _Head(BaseModel):
    """What tells a manifest of any version."""

    format: Literal["lake-project"]
    schema_version: int


def read_manifest(data: bytes, name: str) -> Manifest:
    """The manifest of a project.

    Args:
        data: What was written of it.
        name: Of the project, for messages.
    Raises:
        ProjectError: if it is none, is damaged, or is of a newer version.
    """
    if len(data) > MAX_BYTES:
        raise ProjectError(f"{name} has a manifest of more than {MAX_BYTES / 1e6:g} MB: save the project again.")
    try:
        head = _Head.model_validate_json(data)
    except ValidationError:
        raise ProjectError(f"{name} holds no manifest of a project: save the project again.") from None
    if head.schema_version > SCHEMA:
        raise ProjectError(
            f"{name} was saved by a newer LAKE Explorer (format {head.schema_version}, this one reads {SCHEMA}): "
            "install the newest version."
        )
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ProjectError(f"{name} has a damaged manifest ({_reason(error)}): save the project again.") from None


def checked(kind: type[Kind], values: dict[str, Any]) -> Kind:
    """A part of the manifest made of values of this program.

    Raises:
        ProjectError: if a value cannot be kept in a project.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ProjectError(f"This analysis cannot be saved as a project: {_reason(error)}.") from None


def _check_distinct(what: str, values: Iterable[str]) -> None:
    held = list(values)
    if len(set(held)) < len(held):
        raise ValueError(f"two {what}")


def _reason(error: ValidationError) -> str:
    """The first fault in words, in which nothing long of the file is repeated."""
    detail = error.errors(include_url=False)[0]
    where = ".".join(str(part)[:40] for part in detail["loc"][:6])
    said = detail["msg"].removeprefix("Value error, ")[:200]
    reason = f"{where}: {said}" if where else said
    return "".join(one if one.isprintable() else "?" for one in reason)
