"""Print the figures that the README shows, of all that were measured.

python -m benchmarks.summary
"""

from typing import Any

from benchmarks.results import format_figures, in_order, read_results
from benchmarks.rows import TABLES
from benchmarks.settings import ROOT

# The figures of each table by name. Against several peers, a name brings a row for each.
SHOWN: dict[str, list[str]] = {
    "textcat": [
        "step_bow, 77 labels",
        "step_ensemble, 77 labels",
        "encoder_train, 128 texts a batch",
        "encoder_predict, 128 texts a batch, first pass",
        "wrapper, 12-layer transformer, 16 rows",
        "train_to_best, against ensemble",
        "train_to_best, test macro F, ours minus theirs",
        "memory, peak of the process",
    ],
    "tokens": [
        "english_ewt, training, english_ewt.cfg",
        "english_ewt, predicting, english_ewt.cfg",
        "ewt_accuracy, test LAS after the same time, ours minus theirs",
        "ner_speed, training",
        "ner_speed, predicting",
        "ner_wnut17, test F, ours minus theirs",
        "spancat, training",
        "spancat, predicting",
        "spancat, F on the test set, 256 training texts",
        "hf_transformer, predict",
        "hf_transformer, train",
        "SemEval-2010 task 8, macro F, MiniLM",
        "accelerate, en_core_web_md: token encoders, first pass",
    ],
    "images": [
        "first 200 labels, sign digits: area",
        "BCCD, AP50 after 10 pictures",
        "BCCD, AP50 after 205 pictures",
        "images a second, EfficientNet-Lite0, photographs of 640 x 480",
    ],
    "active": [
        "BANKING77, 10 intents, FastTextCat.v1 + ensemble: area",
        "SST-2, FastTextCat.v1 + ensemble: area",
        "BANKING77, 10 intents, margin: area",
        "SST-2, margin: area",
        "rare label (5 %), high score: examples found in 200 questions",
        "10 answers learned at 160 to 200 answers, 95th percentile",
    ],
    "scale": [
        "processes, SGD in float64, 61 steps, 2 processes: largest difference of a parameter",
        "processes, 7.6M parameters, batches of 8,000 words: 2 processes",
        "20 trainings, killed in a step or in writing and resumed: same files",
        "annotate_ray, 2 actors, words a second",
        "annotate_engines, spark, a worker killed: documents missing, twice or different",
        "export_minilm, int8, predict",
        "export_hash_embed_cnn, int8, predict",
        "textcat.cfg, 22.8M parameters: a checkpoint a minute, share of the time",
    ],
}


def choose_figures() -> list[dict[str, Any]]:
    """The figures to show, in the order of the tables.

    Raises:
        KeyError: a name that no row of its table has measured.
    """
    chosen = []
    for table, names in SHOWN.items():
        results = read_results(ROOT / "assets" / "benchmarks" / f"{table}.json")
        figures = in_order(results, list(TABLES[table]))
        for name in names:
            found = [figure for figure in figures if figure["name"] == name]
            if not found:
                raise KeyError(f"no figure of {table}.json is called {name!r}")
            chosen.extend(found)
    return chosen


if __name__ == "__main__":
    print(format_figures(choose_figures()))
