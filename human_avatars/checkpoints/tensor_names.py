"""Whether an original's state dict has the tensors that are expected, said in one sentence where it has not."""

from collections.abc import Iterable


def check_names(found: Iterable[str], expected: Iterable[str], checkpoint: str, published: str) -> None:
    """Refuse a state dict that lacks tensors or has unknown ones.

    Args:
        found: Names in it.
        expected: Names of the published network's tensors.
        checkpoint: What it is, for the message.
        published: Which network was published, for the message.

    Raises:
        ValueError: The names are not the same.
    """
    found, expected = set(found), set(expected)
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if missing or unknown:
        problems = [f"lacks {shortened(missing)}"] * bool(missing)
        problems += [f"has the unknown {shortened(unknown)}"] * bool(unknown)
        raise ValueError(
            f"{checkpoint} {' and '.join(problems)}. Expected the {len(expected)} tensors of {published}; "
            "variants of it cannot be imported."
        )


def shortened(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
