"""What recipes see of Prodigy: its modules, its command line and its controller.

Written from the public documentation and recipes; Prodigy itself is not needed. It looks 64
tasks ahead, sends batches of ten, and keeps one batch of answers on the way.
"""

import argparse
import hashlib
import inspect
import json
import sys
import types
from itertools import islice

INPUT_KEYS = ("text", "image", "html", "input")
TASK_KEYS = ("spans", "label", "options", "arcs")
IGNORED = {"score", "rank", "model", "source", "pattern", "priority", "path", "answer"}


def set_hashes(task, *, overwrite=False):
    """The hashes are not those of Prodigy, nor ours, but made of the same keys."""
    task = dict(task)
    if overwrite or "_input_hash" not in task:
        task["_input_hash"] = _hash(*(task.get(key) for key in INPUT_KEYS))
    if overwrite or "_task_hash" not in task:
        question = [_strip(task.get(key)) for key in TASK_KEYS]
        task["_task_hash"] = _hash(task["_input_hash"], *question)
    return task


def _hash(*values):
    digest = hashlib.md5(repr(values).encode()).digest()
    return int.from_bytes(digest[:4], "big", signed=True)


def _strip(value):
    if isinstance(value, dict):
        return {key: _strip(item) for key, item in value.items() if key not in IGNORED}
    return [_strip(item) for item in value] if isinstance(value, list) else value


class Database:
    def __init__(self):
        self.datasets = {}

    def get_dataset_examples(self, name):
        return list(self.datasets.get(name, []))

    def add_examples(self, examples, datasets):
        for name in datasets:
            # What cannot be written as JSON cannot be saved.
            self.datasets.setdefault(name, []).extend(json.loads(json.dumps(list(examples))))


class OldDatabase(Database):
    get_dataset_examples = None

    def get_dataset(self, name):
        return self.datasets.get(name)  # None if there is none


class Arg:
    def __init__(self, *flags, help):
        self.flags, self.help = flags, help


class Prodigy:
    """The modules of one version: "new" has `Arg` and `get_stream`, "old" has neither."""

    def __init__(self, monkeypatch, style="new"):
        self.recipes = {}
        self.database = Database() if style == "new" else OldDatabase()
        modules = {
            "prodigy": {"recipe": self._recipe, "set_hashes": set_hashes},
            "prodigy.core": {"Arg": Arg} if style == "new" else {},
            "prodigy.components": {},
            "prodigy.components.db": {"connect": lambda: self.database},
            "prodigy.components.loaders": {"JSONL": _read_lines},
            "prodigy.components.stream": {"get_stream": _get_stream} if style == "new" else {},
        }
        for name, contents in modules.items():
            module = types.ModuleType(name)
            vars(module).update(contents)
            if style == "new" or name not in ("prodigy.core", "prodigy.components.stream"):
                monkeypatch.setitem(sys.modules, name, module)
            else:
                monkeypatch.setitem(sys.modules, name, None)  # as if it were not there
            module.__path__ = []

    def _recipe(self, name, **arguments):
        def register(function):
            self.recipes[name] = (function, arguments)
            return function

        return register

    def run(self, name, *argv):
        """As `prodigy NAME ARGS`: a controller on what the recipe returns."""
        function, arguments = self.recipes[name]
        parser = argparse.ArgumentParser(name)
        signature = inspect.signature(function)
        assert set(arguments) <= set(signature.parameters)
        for key, parameter in signature.parameters.items():
            flags, settings = _read_argument(key, parameter, arguments[key])
            parser.add_argument(*flags, **settings)
        components = function(**vars(parser.parse_args(argv)))
        return Controller(components, self.database)


def _read_argument(key, parameter, argument):
    """Flags and settings for argparse, from one of both styles."""
    default = parameter.default
    if isinstance(argument, Arg):
        text, kind, flags = argument.help, parameter.annotation, argument.flags
        assert kind in (str, int, float, bool), "the type comes from the signature"
    else:
        text, style, letter, kind = argument
        assert (style == "flag") == (kind is bool)
        flags = () if style == "positional" else (f"--{key}", f"-{letter}")
    if not flags:
        return (key,), {"help": text, "type": kind}
    if kind is bool:
        return flags, {"help": text, "action": "store_true"}
    return flags, {"help": text, "type": kind, "default": default}


def _read_lines(path):
    with open(path, encoding="utf8") as file:
        yield from (json.loads(line) for line in file)


def _get_stream(source, *, rehash=False, dedup=False, **settings):
    seen = set()
    for task in _read_lines(source):
        task = set_hashes(task, overwrite=rehash)
        if not dedup or task["_input_hash"] not in seen:
            seen.add(task["_input_hash"])
            yield task


class Controller:
    batch_size = 10
    look_ahead = 64

    def __init__(self, components, database):
        self.components = components
        self.database = database
        self.dataset = components["dataset"]
        by_input = components["config"].get("exclude_by") == "input"
        self.key = "_input_hash" if by_input else "_task_hash"
        names = [self.dataset, *components["exclude"]]
        read = getattr(database, "get_dataset_examples", None) or database.get_dataset
        self.excluded = {task[self.key] for name in names for task in read(name) or []}
        self.stream = self._filter(iter(components["stream"]))
        self.queue = list(islice(self.stream, self.look_ahead))
        self.on_the_way = []
        self.progress = None
        self.errors = []

    def _filter(self, stream):
        for task in stream:
            task = json.loads(json.dumps(set_hashes(task)))  # through a browser
            if task[self.key] not in self.excluded:
                self.excluded.add(task[self.key])
                yield task

    def get_questions(self):
        self.queue += islice(self.stream, self.batch_size)
        batch, self.queue = self.queue[: self.batch_size], self.queue[self.batch_size :]
        return batch

    def receive_answers(self, answers):
        """A batch; the one before it is saved now, and cannot be undone any longer."""
        for task in answers:
            self.components["validate_answer"](task)
        before, self.on_the_way = self.on_the_way, answers
        self._save(before)

    def _save(self, answers):
        if not answers:
            return
        answers = [{**task, "_view_id": self.components["view_id"]} for task in answers]
        copies = [dict(task) for task in answers]
        self.database.add_examples(self.components["before_db"](copies), [self.dataset])
        loss = self.components["update"](answers)
        self.progress = self.components["progress"](self, loss)

    def close(self):
        self._save(self.on_the_way)
        self.on_the_way = []
        self.components["on_exit"](self)


def prefer_uncertain(stream):
    """A sorter by a running average, which drops about half of what it gets."""
    average = None
    for score, task in stream:
        doubt = 1 - abs(score - 0.5) * 2
        average = doubt if average is None else 0.9 * average + 0.1 * doubt
        if doubt >= average:
            yield task
