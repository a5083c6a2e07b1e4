"""The human-avatars command: what nerfstudio's own commands have no door for."""

import importlib
import sys
import warnings

COMMANDS = {
    "quickstart": ("human_avatars.scripts.quickstart", "Film the demo, train an avatar, measure it, render an orbit."),
    "demo": ("human_avatars.scripts.demo", "Film a clothed actor in the layout of a published dataset."),
    "orbit": ("human_avatars.scripts.orbit", "Render a trained, moving person from a circling camera (no ffmpeg)."),
    "import-checkpoint neural-body": (
        "human_avatars.scripts.import_neural_body",
        "Turn the weights of Neural Body's original implementation into a nerfstudio run.",
    ),
    "import-checkpoint gaussian-avatar": (
        "human_avatars.scripts.import_gaussian_avatar",
        "Turn the weights of GaussianAvatar's original implementation into a nerfstudio run.",
    ),
    "export motion": ("human_avatars.scripts.export_motion", "Write a trained person's poses for other programs."),
    "build-body": ("human_avatars.scripts.build_body", "Build the packaged open body from MakeHuman's CC0 files."),
}
"""Module of each command, whose `main` takes its options, and what it does. Commands of two words form a group."""

THIRD_PARTY_MODULES = r"(nerfstudio|torch|torchmetrics|torchvision|timm|tensorly)(\.|$)"
"""Modules whose warnings are not about the user's input."""


def entrypoint() -> None:
    """Run one command; its module alone is imported, so that help comes at once."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Args:
        arguments: The command's name and its options.

    Returns:
        Exit code: 0 when it went well, 1 for bad input, 2 for a command line that cannot be understood.
    """
    is_group = any(command.startswith(f"{arguments[0]} ") for command in COMMANDS) if arguments else False
    words = 2 if is_group else 1
    if len(arguments) < words or arguments[words - 1] in ("-h", "--help"):
        print(_usage(f"{arguments[0]} " if is_group else ""))
        return 0 if arguments[words - 1 :] else 2
    name, options = " ".join(arguments[:words]), arguments[words:]
    if name not in COMMANDS:
        print(f"human-avatars: there is no command {name!r}.\n\n{_usage()}", file=sys.stderr)
        return 2
    import tyro

    # nerfstudio 1.1.5 makes newer releases of its own dependencies warn at every start; users can do nothing about it.
    warnings.filterwarnings("ignore", module=THIRD_PARTY_MODULES)
    module = importlib.import_module(COMMANDS[name][0])
    try:
        # A command that takes one dataclass shows its fields without a prefix.
        tyro.cli(module.main, prog=f"human-avatars {name}", args=options, config=(tyro.conf.OmitArgPrefixes,))
    except ValueError as error:
        print(f"human-avatars {name}: {error}", file=sys.stderr)
        return 1
    return 0


def _usage(group: str = "") -> str:
    """Every command, or those whose names begin with a group's."""
    commands = {name: purpose for name, (_, purpose) in COMMANDS.items() if name.startswith(group)}
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {purpose}" for name, purpose in commands.items()]
    return "\n".join(
        ["usage: human-avatars COMMAND [options]", "", *lines, "", "human-avatars COMMAND --help shows its options."]
    )
