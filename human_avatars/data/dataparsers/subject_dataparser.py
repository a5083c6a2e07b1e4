"""What every data parser of captured people is: a reader of SubjectFrames that nerfstudio takes as cameras."""

from abc import abstractmethod

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from human_avatars.data.subject_frames import SubjectFrames


class SubjectDataParser(DataParser):
    """Base of the data parsers. A layout says which images a split has; the rest is shared.

    Args:
        config: Where the capture lies and how it is split.
    """

    includes_time: bool = True

    def __init__(self, config: DataParserConfig) -> None:
        super().__init__(config=config)

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: dict | None) -> DataparserOutputs:
        return self.read_frames(split).to_dataparser_outputs()

    @abstractmethod
    def read_frames(self, split: str) -> SubjectFrames:
        """The images of a split as they lie on disk.

        Args:
            split: "train", or "val" or "test", which are the same.

        Returns:
            The images, their cameras and the person.

        Raises:
            ValueError: Something is missing, broken, or disagrees.
        """
