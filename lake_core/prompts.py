"""Prompt ensembles: phrases for the normal and for the anomalous state, and templates around them.

The composition state phrase x template x object name follows WinCLIP (Jeong et al., CVPR 2023, arXiv 2303.14814).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lake_core.errors import ConfigError

NORMAL_STATES = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
ANOMALOUS_STATES = (
    "damaged {}",
    "broken {}",
    "defective {}",
    "{} with flaw",
    "{} with defect",
    "{} with damage",
    "{} with a scratch",
    "{} with a crack",
)
TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a cropped photo of the {}.",
    "a bright photo of the {}.",
    "a photo of the {} for visual inspection.",
)


MAX_CHARACTERS = 200
"""Of a phrase or template: text towers read about 77 word pieces of a prompt and drop the rest without a word."""


@dataclass(frozen=True)
class PromptEnsemble:
    """State phrases and templates, each with one `{}`; every combination is one prompt.

    Attributes:
        normal_states: Phrases for the normal state; `{}` is the object name.
        anomalous_states: Phrases for the anomalous state.
        templates: Sentences around a phrase; `{}` is the phrase.

    Raises:
        ConfigError: if one of them is empty, or a text has not one `{}` or more than MAX_CHARACTERS.
    """

    normal_states: tuple[str, ...] = NORMAL_STATES
    anomalous_states: tuple[str, ...] = ANOMALOUS_STATES
    templates: tuple[str, ...] = TEMPLATES

    def __post_init__(self) -> None:
        for what, texts in (
            ("phrase for normal", self.normal_states),
            ("phrase for anomalous", self.anomalous_states),
            ("template", self.templates),
        ):
            if not texts:
                raise ConfigError(f"The prompts need at least one {what}; add one.")
            for text in texts:
                if len(text) > MAX_CHARACTERS:
                    raise ConfigError(
                        f"The {what} {text[:30]!r} ... has {len(text)} characters; the model reads the beginning of a "
                        f"prompt only, so keep to {MAX_CHARACTERS}."
                    )
                if text.count("{}") != 1:
                    raise ConfigError(f"The {what} {text!r} must have exactly one {{}} in it.")

    def normal_texts(self, object_name: str) -> list[str]:
        """All prompts for the normal state."""
        return self._texts(self.normal_states, object_name)

    def anomalous_texts(self, object_name: str) -> list[str]:
        """All prompts for the anomalous state."""
        return self._texts(self.anomalous_states, object_name)

    def _texts(self, states: Sequence[str], object_name: str) -> list[str]:
        return [
            template.replace("{}", state.replace("{}", object_name)) for state in states for template in self.templates
        ]
