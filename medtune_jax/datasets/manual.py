"""The base of all TFDS builders of public sets: folders that the user downloaded by hand.

They need no TensorFlow: images enter as encoded bytes, records are array_record, and reading goes
through `as_data_source`. A data set is a subclass that says where its files lie, under what terms,
whom to cite, and what its records hold.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds


class ManualDataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What all data sets share; a subclass says layout, licence, citation, homepage."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Download the data set by hand and name its folder."
    layout: ClassVar[str]
    licence: ClassVar[str]
    citation: ClassVar[str]
    homepage: ClassVar[str]
    informative: ClassVar[tuple[str, ...] | None] = None
    """Of frames judged for quality: the classes whose frames show the mucosa well."""

    def features(self) -> dict[str, Any]:
        """What a record holds."""
        raise NotImplementedError

    def scan(self, root: Path) -> dict[str, list[Any]]:
        """{split: items} of the downloaded folder; raises UserError when the layout is another."""
        raise NotImplementedError

    def records(self, items: list[Any]) -> Iterator[dict[str, Any]]:
        """The values of `features`, one record after the other."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{type(self).__doc__}\n\nTerms: {self.licence}",
            homepage=self.homepage,
            citation=self.citation,
            features=tfds.features.FeaturesDict(self.features()),
            disable_shuffling=True,  # frames, patients and subjects stay in their order
        )

    def _split_generators(self, dl_manager):
        splits = self.scan(Path(dl_manager.manual_dir))
        return {name: self._generate_examples(items) for name, items in splits.items()}

    def _generate_examples(self, items: list[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(self.records(items))


def text(value: object) -> str:
    """A text feature as TFDS reads it: bytes, or what is a string already."""
    return value.decode() if isinstance(value, bytes) else str(value)
