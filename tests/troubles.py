"""A component that fails on some documents, and kills its process on one, but only once."""

import os
import signal
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc


@Language.factory("tests_troubles")
class Troubles:
    """Fails on texts with BAD, and dies of texts with KILL while a folder has no file "killed".

    Each process that it works in leaves a file with its number in the folder.
    """

    def __init__(self, nlp: Language, name: str, folder: str) -> None:
        self.folder = Path(folder)

    def __call__(self, doc: Doc) -> Doc:
        (self.folder / f"{os.getpid()}.worker").touch()
        if "BAD" in doc.text:
            raise ValueError(f"cannot read {doc.text}")
        if "KILL" in doc.text:
            try:
                (self.folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                return doc
            os.kill(os.getpid(), signal.SIGKILL)
        return doc
