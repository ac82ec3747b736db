"""Options that take lists, written with commas or with spaces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from lake_core.errors import ConfigError

LIST = "separated by commas or spaces"
_NUMBER_LISTS = {"--shots", "--seeds", "--top-k"}
_LISTS = _NUMBER_LISTS | {"--categories", "--methods"}


class ListsCommand(TyperCommand):
    """A command whose list options may be written `--shots 1 2 4` as well as `--shots 1,2,4`, and --csv without OUT."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, joined_lists(args))


def joined_lists(args: Sequence[str]) -> list[str]:
    """The arguments with the words of each list option made one, and the file of a bare --csv named after --json's.

    A list takes the words up to the next option; where the folder was not named yet, numbers up to a word, and words
    up to an existing folder.
    """
    joined: list[str] = []
    option, has_folder = "", False
    for arg in args:
        if arg.startswith("-"):
            option = arg
            joined.append(arg)
        elif joined and joined[-1] == option:  # the option's first value
            joined.append(arg)
        elif option in _LISTS and (has_folder or not _may_be_folder(option, arg)):
            joined[-1] += f",{arg}"
        else:
            has_folder, option = True, ""
            joined.append(arg)
    return _with_file_of_csv(joined)


def words(text: str) -> list[str]:
    """The words of a list."""
    return text.replace(",", " ").split()


def numbers(option: str, text: str) -> list[int]:
    """The whole numbers of a list.

    Raises:
        ConfigError: if it is empty, or one is no number.
    """
    found = words(text)
    if not found or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in found):
        raise ConfigError(f"{option} is {text!r}; give whole numbers, {LIST}, as in 1,2,4.")
    return [int(word) for word in found]


def layer_numbers(text: str | None) -> tuple[int, ...] | None:
    """The layers of --layers; None where it is not given."""
    return None if text is None else tuple(numbers("--layers", text))


def _may_be_folder(option: str, word: str) -> bool:
    if option in _NUMBER_LISTS:
        return not word.replace(",", "").isdigit()
    from lake_core.data.samples import samples_if_named  # reads images, which takes longer to import than all the rest

    return samples_if_named(Path(word)).is_dir()


def _with_file_of_csv(args: list[str]) -> list[str]:
    if "--csv" not in args or "--json" not in args[:-1]:
        return args
    after = args.index("--csv") + 1
    if after < len(args) and not args[after].startswith("-"):
        return args
    return [*args[:after], str(Path(args[args.index("--json") + 1]).with_suffix(".csv")), *args[after:]]
