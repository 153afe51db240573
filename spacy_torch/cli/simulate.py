"""The learning curve that one would have had."""

from functools import partial
from pathlib import Path

from spacy.cli._util import Arg, Opt, app
from spacy.util import load_config, registry
from wasabi import msg


@app.command("torch-simulate")
def torch_simulate(
    config_path: Path = Arg(
        ..., help="Config of a pipeline that learns labels, spans or boxes", exists=True
    ),
    data_path: Path = Arg(..., help=".spacy or JSONL, annotated", exists=True, dir_okay=False),
    html: Path = Opt(Path("report.html"), "--html", help="The report to write"),
    csv: Path | None = Opt(None, "--csv", help="Every checkpoint of every session"),
    test: Path | None = Opt(None, "--test", "-t", help="To be tested on (default: held out)"),
    test_share: float = Opt(0.3, "--test-share", help="How much is held out without --test"),
    component: str = Opt("", "--component", "-c", help="Name (default: the first that can)"),
    strategy: str = Opt("spacy-torch.Margin.v1", "--strategy", help="Which questions to ask"),
    kind: str = Opt(
        "",
        "--kind",
        "-k",
        help="choice, binary; spans: binary, manual; boxes: also correct (default: as suits)",
    ),
    baselines: str = Opt(
        "random,slow,tfidf,bow,ensemble", "--baselines", "-b", help="Comma-separated"
    ),
    pupils: str = Opt(
        "slow,bow,ensemble", "--pupils", help="Models that learn the same at the end, or none"
    ),
    answers: int = Opt(200, "--answers", "-n", help="Questions of a session"),
    seeds: int = Opt(5, "--seeds", "-s", help="Sessions of each contestant"),
    batch: int = Opt(10, "--batch", help="Questions at a time"),
    epochs: int = Opt(4, "--epochs", help="Passes over all answers, by gradient, for each batch"),
    window: int = Opt(256, "--window", help="How many inputs are looked at for a batch"),
    epsilon: float = Opt(0.1, "--epsilon", help="Share of questions that chance chooses"),
    flipped: float = Opt(0.0, "--flipped", help="Share of wrong answers"),
    ignored: float = Opt(0.0, "--ignored", help="Share of questions passed over"),
    seconds: float = Opt(2.0, "--seconds", help="What an answer costs, for the report"),
    ceiling: bool = Opt(False, "--ceiling", help="Also train on the whole pool, for the targets"),
) -> None:
    """Show the learning curve that one would have had: sessions with a simulated annotator.

    The texts or pictures of DATA play the pool, their labels, spans or boxes what the annotator
    knows. The report is one HTML page; it says so if asking in random order, or another model, is
    better.
    """
    from spacy_torch.annotation.active import Settings
    from spacy_torch.annotation.classifier_pipeline import build_pipeline
    from spacy_torch.annotation.contestants import list_contestants
    from spacy_torch.annotation.gold import read_gold, split_gold
    from spacy_torch.annotation.oracle import Noise
    from spacy_torch.annotation.report import write_report
    from spacy_torch.annotation.simulation import Protocol, find_kind, simulate
    from spacy_torch.annotation.subjects import find_subject
    from spacy_torch.annotation.summary import say, write_csv
    from spacy_torch.annotation.tfidf import has_scikit_learn

    wanted = [name for name in baselines.split(",") if name]
    if "tfidf" in wanted and not has_scikit_learn():
        msg.warn("Without scikit-learn TF-IDF is left out", "pip install 'spacy-torch[simulate]'")
        wanted.remove("tfidf")
    try:
        config = load_config(config_path, interpolate=False)
        nlp = build_pipeline(config, seed=0)
        subject = find_subject(nlp, component or None)
        name = subject.find_component(nlp, component or None)
        group = getattr(nlp.get_pipe(name), "key", None)
        read = partial(read_gold, subject=subject.name, group=group)
        data = split_gold(
            read(data_path), read(test) if test else None, share=test_share, subject=subject.name
        )
        settings = Settings(batch=batch, window=window, epsilon=epsilon, epochs=epochs)
        protocol = Protocol(
            answers=answers,
            seeds=seeds,
            kind=find_kind(data, kind),
            noise=Noise(flipped=flipped, ignored=ignored),
            seconds=seconds,
            settings=settings,
        )
        contestants = list_contestants(
            config,
            strategy=registry.get("torch_query_strategies", strategy)(),
            strategy_name=strategy.removeprefix("spacy-torch.").removesuffix(".v1"),
            baselines=wanted,
            pupils=[pupil for pupil in pupils.split(",") if pupil],
            component=name,
            settings=settings,
        )
        msg.info(f"{len(data.pool)} inputs to ask about, {len(data.test)} to be tested on")
        found = simulate(
            data,
            contestants,
            protocol,
            ceiling=ceiling,
            on_run=lambda run: msg.text(f"seed {run.seed}, {run.name}: area {run.area:.3f}"),
        )
        write_report(found, html)
        if csv:
            write_csv(found, csv)
    except (OSError, ValueError) as error:
        msg.fail("Cannot simulate it", str(error), exits=1)
    for sentence in say(found):
        msg.text(sentence)
    msg.good(f"Report: {html}")
