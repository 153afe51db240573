"""Labelling in Label Studio."""

from pathlib import Path

from spacy.cli._util import Arg, Opt, app
from wasabi import msg


@app.command("torch-label-studio")
def torch_label_studio(
    pipeline: str = Arg(..., help="Config file, trained pipeline, or blank:en for a new one"),
    url: str = Arg(..., help="Of the server, such as http://localhost:8080"),
    project: int = Arg(..., help="The number of the project, as in its address"),
    dataset: Path = Opt(..., "--dataset", "-d", help="JSONL file for the answers; it may exist"),
    component: str = Opt("", "--component", "-c", help="Default: the first one to ask about"),
    control: str = Opt("", "--control", help="Of the labelling config, if it has several"),
    strategy: str = Opt("Margin", "--strategy", "-s", help="Which questions to ask first"),
    epsilon: float = Opt(0.1, "--epsilon", "-e", help="Share of questions that chance chooses"),
    ahead: int = Opt(20, "--ahead", help="How many questions wait in the project"),
    backend: int | None = Opt(None, "--backend", help="Port at which the server may ask, too"),
) -> None:
    """Label in Label Studio: it shows what the model wants to know most, which learns at once.

    The token is read from the environment variable LABEL_STUDIO_TOKEN. No answer is lost,
    whatever happens. To go on another day, give the same command again.
    """
    from spacy_torch.annotation.active import Progress, Settings
    from spacy_torch.annotation.label_studio_session import run_label_studio

    def tell(progress: Progress) -> None:
        right = "" if progress.accuracy is None else f", {progress.accuracy:.0%} right before"
        msg.text(f"{progress.n_answers} answers{right}; {progress.n_left} tasks left")

    try:
        run_label_studio(
            pipeline,
            url,
            project,
            dataset=dataset,
            component=component or None,
            from_name=control or None,
            strategy=strategy,
            settings=Settings(epsilon=epsilon),
            ahead=ahead,
            backend=backend,
            tell=tell,
        )
    except (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        msg.fail("Cannot go on", str(error), exits=1)
    except KeyboardInterrupt:
        msg.info(f"Broken off; all answers are in {dataset}")
    else:
        msg.good(f"Nothing left to ask; all answers are in {dataset}")
