"""A trained avatar out of a run's folder, for the commands that use one."""

from pathlib import Path

from human_avatars.models.base_avatar_model import AvatarModel


def load_avatar(load_config: Path) -> AvatarModel:
    """Load a run's model with the weights of its last checkpoint.

    Args:
        load_config: The run's config.yml.

    Returns:
        The avatar, in evaluation mode.

    Raises:
        ValueError: There is no such file, or the run is not of an avatar method.
    """
    from nerfstudio.utils.eval_utils import eval_setup

    if not load_config.is_file():
        raise ValueError(f"{load_config} does not exist: give the config.yml that training printed.")
    _, pipeline, _, _ = eval_setup(load_config, test_mode="inference")
    model = pipeline.model
    if not isinstance(model, AvatarModel):
        raise ValueError(f"{load_config} is a run of {type(model).__name__}, not of an avatar method.")
    return model
