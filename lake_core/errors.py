"""What can go wrong, in words for people.

Every error raised for something a user gave says in one sentence what it was about, why it was refused and what to
do. The dashboard shows the message as it stands; the command line prints it on one line.
"""


class LakeError(Exception):
    """Base of all errors that are meant to be read by a user."""


class ImageError(LakeError):
    """A image or mask cannot be used."""


class DatasetError(LakeError):
    """A folder or archive of images cannot be used."""


class BackboneError(LakeError):
    """A backbone cannot be opened, or cannot do what was asked of it."""


class ConfigError(LakeError):
    """A parameter has a value that is not allowed."""


class NotFittedError(LakeError):
    """Something was asked of a detector that has seen no normal image yet."""
