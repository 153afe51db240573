"""The rows of the benchmark, and the process that measures one of them."""

import argparse
from importlib import import_module
from pathlib import Path
from time import monotonic

from benchmarks.results import write_row
from benchmarks.settings import Settings

# Table -> row -> the function that gives its figures. A module is imported only in the row's
# process.
TABLES: dict[str, dict[str, str]] = {
    "textcat": {
        "step_bow": "benchmarks.steps:measure_bow",
        "step_ensemble_77": "benchmarks.steps:measure_ensemble_77",
        "step_ensemble_4": "benchmarks.steps:measure_ensemble_4",
        "encoder_train": "benchmarks.encoder_train:measure",
        "encoder_predict": "benchmarks.encoder_predict:measure",
        "bare_loop": "benchmarks.bare_loop:measure",
        "wrapper": "benchmarks.wrapper:measure",
        "memory": "benchmarks.memory:measure",
        "first_200": "benchmarks.first_200:measure",
        "train_to_best": "benchmarks.train_to_best:measure",
    },
    "tokens": {
        "encoders": "benchmarks.encoder_kinds:measure",
        "hf_transformer": "benchmarks.hf_transformer:measure",
        "spancat_restaurant8k": "benchmarks.spancat:measure",
        "english_ewt": "benchmarks.english_ewt:measure",
        "ewt_accuracy": "benchmarks.ewt_accuracy:measure",
        "ewt_long": "benchmarks.ewt_accuracy:measure_long",
        "ner_speed": "benchmarks.ner_speed:measure",
        "ner_wnut17": "benchmarks.ner_wnut17:measure",
        "ner_minilm": "benchmarks.ner_wnut17:measure_minilm",
        "accelerate": "benchmarks.accelerate:measure",
        "relations_semeval": "benchmarks.relations:measure",
        "relations_minilm": "benchmarks.relations:measure_minilm",
        "parser_ewt": "benchmarks.parser:measure",
    },
    "images": {
        "image_signs": "benchmarks.image_learning:measure_signs",
        "image_fashion": "benchmarks.image_learning:measure_fashion",
        "image_update": "benchmarks.image_speed:measure_update",
        "image_backbone": "benchmarks.image_speed:measure_backbone",
        "detection_clutter": "benchmarks.detection:measure_clutter",
        "detection_bccd": "benchmarks.detection:measure_bccd",
    },
    "active": {
        "active_banking77": "benchmarks.active_text:measure_banking77",
        "active_sst2": "benchmarks.active_text:measure_sst2",
        "active_strategies_banking77": "benchmarks.active_text:measure_strategies_banking77",
        "active_strategies_sst2": "benchmarks.active_text:measure_strategies_sst2",
        "active_rare": "benchmarks.active_text:measure_rare",
        "active_latency": "benchmarks.active_text:measure_latency",
        "active_minilm_sst2": "benchmarks.active_minilm:measure_sst2",
        "active_minilm_banking77": "benchmarks.active_minilm:measure_banking77",
        "active_boxes_clutter": "benchmarks.active_boxes:measure_clutter",
        "active_boxes_bccd": "benchmarks.active_boxes:measure_bccd",
    },
    "scale": {
        "export_minilm": "benchmarks.export:measure_minilm",
        "export_hash_embed_cnn": "benchmarks.export:measure_hash_embed_cnn",
        "annotate_memory": "benchmarks.annotate_memory:measure",
        "processes_equality": "benchmarks.processes:measure_equality",
        "processes_speed": "benchmarks.processes:measure_speed",
        "killed_training": "benchmarks.killed_training:measure",
        "annotate_ray": "benchmarks.annotate_ray:measure",
        "annotate_engines": "benchmarks.annotate_engines:measure",
        "n_process": "benchmarks.n_process:measure",
        "killed_anywhere": "benchmarks.checkpoints:measure_kills",
        "checkpoints": "benchmarks.checkpoints:measure",
    },
}
ROWS = {row: function for rows in TABLES.values() for row, function in rows.items()}


def main() -> None:
    """Measure one row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("output", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    module, function = ROWS[args.row].split(":")
    start = monotonic()
    figures = getattr(import_module(module), function)(Settings(args.quick, args.data))
    write_row(args.output, args.row, figures, quick=args.quick)
    print(f"   took {monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
