"""Training that goes on where it was killed, in one process or many."""

from pathlib import Path

from spacy.cli._util import Arg, Opt, app, import_code, parse_config_overrides
from typer import Context
from wasabi import msg


@app.command(
    "torch-train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def torch_train(
    ctx: Context,  # for the settings to be overridden
    config_path: Path = Arg(..., help="Config of the training", exists=True, allow_dash=True),
    output_path: Path | None = Opt(
        None, "--output", "--output-path", "-o", help="Directory for the pipelines and checkpoints"
    ),
    code_path: Path | None = Opt(None, "--code", "-c", help="Python file to import first"),
    verbose: bool = Opt(False, "--verbose", "-V", "-VV", help="Say more"),
    use_gpu: int = Opt(-1, "--gpu-id", "-g", help="GPU, or -1 for the CPU"),
    resume: bool = Opt(False, "--resume", help="Go on from the checkpoint in the output directory"),
    steps: int = Opt(
        0, "--checkpoint-steps", help="Steps between checkpoints; 0: by the time", min=0
    ),
    seconds: float = Opt(
        60.0, "--checkpoint-seconds", help="Seconds between them, at least", min=0
    ),
) -> None:
    """Train a pipeline as `spacy train` does, and write checkpoints to go on from.

    Takes all that `spacy train` takes, settings such as --training.max_steps 100 too. With
    --resume, a run that was killed goes on exactly where its last checkpoint was written.
    """
    import logging

    from spacy.util import logger

    from spacy_torch.distributed.world import NotTogetherError, find_world, leave_world
    from spacy_torch.training.checkpoint import CheckpointError
    from spacy_torch.training.train import NoGpuError, OutputError, train

    titles: dict[type[Exception], str] = {
        CheckpointError: "Cannot go on with this checkpoint",
        NotTogetherError: "These processes cannot train together",
        NoGpuError: "There is no such GPU",
        OutputError: "Cannot save there",
    }
    if verbose:
        logger.setLevel(logging.DEBUG)
    overrides = parse_config_overrides(ctx.args)
    import_code(code_path)
    if resume and output_path is None:
        msg.fail("--resume needs the --output directory that the run was started with", exits=1)
    try:
        find_world()
    except (ConnectionError, ValueError) as error:
        msg.fail("Cannot train with other processes", str(error), exits=1)
    try:
        train(
            config_path,
            output_path,
            use_gpu=use_gpu,
            overrides=overrides,
            resume=resume,
            steps=steps,
            seconds=seconds,
        )
    except BaseException as error:
        leave_world(has_failed=True)
        for kind, title in titles.items():
            if isinstance(error, kind):
                msg.fail(title, str(error), exits=1)
        raise
    leave_world()
