"""A new project in Label Studio."""

from pathlib import Path
from typing import Any, cast

from spacy.cli._util import Arg, Opt, app
from wasabi import msg


@app.command("torch-label-studio-project")
def torch_label_studio_project(
    url: str = Arg(..., help="Of the server, such as http://localhost:8080"),
    title: str = Arg(..., help="Of the project, three letters at least"),
    pool_path: Path = Arg(..., help="JSONL file of texts or images", exists=True, dir_okay=False),
    label: str = Opt(..., "--label", "-l", help="Comma-separated labels, or a file with them"),
    asked: str = Opt("choices", "--ask", "-a", help="choices, spans or boxes"),
    many: bool = Opt(False, "--many", "-m", help="Any number of choices may be made, not one"),
) -> None:
    """Make a Label Studio project of a pool, with the labelling interface for what is asked.

    The token is read from the environment variable LABEL_STUDIO_TOKEN. `torch-label-studio`
    teaches a model what people say there.
    """
    from spacy_torch.annotation.label_studio_client import Client
    from spacy_torch.annotation.label_studio_create import create_project
    from spacy_torch.annotation.pipelines import split_labels, usable
    from spacy_torch.annotation.tasks import read_tasks

    try:
        created = create_project(
            Client(url),
            title,
            list(usable(read_tasks(pool_path))),
            split_labels(label),
            asked=cast(Any, asked),
            many=many,
        )
    except (ImportError, LookupError, OSError, TypeError, ValueError) as error:
        msg.fail("Cannot make the project", str(error), exits=1)
    msg.good(f"Project {created.number} with {created.n_tasks} tasks: {created.url}")
