"""The base of every component whose model is a torch module."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from typing import Any

from spacy import util
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from torch import Tensor

from spacy_torch.bridge.gradients import all_or_nothing
from spacy_torch.bridge.model import find_shims, get_shim, run_tensors
from spacy_torch.components.batch_limit import BatchLimit
from spacy_torch.components.loss_graph import (
    check_loss_value,
    detach_logits,
    has_gradients,
    squared_distance,
    take_gradients,
)
from spacy_torch.components.probabilities import Probabilities
from spacy_torch.components.requirements import note_requirements
from spacy_torch.components.saved_pipe import SavedPipe
from spacy_torch.components.skipped import Skipped


class TorchPipe(SavedPipe):
    """A trainable component that computes its loss in torch.

    A subclass gives `set_annotations`, `compute_loss`, `probabilities` and `initialize`,
    and keeps its labels in `self.cfg["labels"]`.

    Args:
        model: a Thinc model whose reference "logits" is a model made by `wrap_module`.
        cfg: settings saved with the component, all of them JSON.

    Attributes:
        skipped: how much of the examples could not be learned so far, by the reason. It is
            not saved.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Any, Any],
        name: str,
        *,
        scorer: Callable[..., dict[str, Any]] | None = None,
        **cfg: Any,
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": [], **cfg}
        self.skipped = Skipped()
        self._rehearsal_model: Model[Any, Any] | None = None
        self._limit: BatchLimit | None = None

    # What a subclass gives -------------------------------------------------------------

    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        """The loss of a batch, a scalar summed over it, as a function of the logits.

        `logits` is what the module returned, in the same structure (a tensor, `Ragged`, a
        tuple, ...), with its float tensors as float32.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement compute_loss")

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """How sure the component is of what it would annotate, one entry per document.

        The documents are not changed. Every component answers in this form; what the rows
        are about is said in its own docstring.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement probabilities")

    def make_inputs(self, docs: list[Doc]) -> Any:
        """What the model is called with: the documents, unless a subclass adds something."""
        return docs

    def make_training_inputs(self, examples: Sequence[Example]) -> Any:
        """What the model is called with in an update; None if there is nothing to learn."""
        return self.make_inputs([eg.predicted for eg in examples])

    def learn_at_once(self, examples: Sequence[Example]) -> None:
        """Learn what needs no gradient, before the step; nothing, unless a subclass does."""

    @property
    def learns_by_gradient(self) -> bool:
        """Whether a step changes anything; false of a model that learns all of it at once."""
        return True

    def while_learning(self, examples: Sequence[Example]) -> AbstractContextManager[Any]:
        """What holds while a batch is learned from; nothing, unless a subclass gives something."""
        return nullcontext()

    @property
    def loss_name(self) -> str:
        """What an error calls the loss: the attribute `loss`, where there is one."""
        loss = getattr(self, "loss", None)
        return f"{type(self).__name__}.compute_loss" if loss is None else repr(loss)

    @property
    def training_state(self) -> dict[str, Any]:
        """What updates depend on and neither weights nor settings hold, as JSON.

        A subclass that draws random numbers of its own adds where it is. Setting it to what
        another process got lets this one go on from there.
        """
        return {"skipped": dict(self.skipped)}

    @training_state.setter
    def training_state(self, state: Mapping[str, Any]) -> None:
        self.skipped.clear()
        self.skipped.update(state["skipped"])

    # Labels -----------------------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> Any:
        """The labels, as `spacy init labels` saves them and `initialize` takes them."""
        return list(self.cfg["labels"])

    def add_label(self, label: str) -> int:
        """Add a label, also after training; what was learned for the others stays.

        Returns:
            1 if the label was added, 0 if it was there.

        Raises:
            ValueError: the label is not a string, or is empty.
        """
        if not isinstance(label, str) or not label:
            raise ValueError(f"{self.name!r}: a label must be a non-empty string, got {label!r}")
        if label in self.cfg["labels"]:
            return 0
        self._allow_extra_label()
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        if "resize_output" in self.model.attrs:
            self.model = self.model.attrs["resize_output"](self.model, len(self.labels))
        return 1

    # Running ----------------------------------------------------------------------------

    def predict(self, docs: Iterable[Doc]) -> Any:
        """Score documents without changing them: an array of shape (batch, label)."""
        return self.model.predict(list(docs))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Yield the documents annotated, in order, without those that the error handler got."""
        for docs in util.minibatch(stream, size=batch_size):
            done = 0
            try:
                for n_docs in self._batch_limit.run(self._annotate, docs, _count_tokens(docs)):
                    done += n_docs
            except Exception:
                # One bad document, such as a damaged picture, must not cost the others: alone,
                # each goes its way, and the bad one to the error handler.
                yield from docs[:done]
                yield from (doc for doc in map(self, docs[done:]) if doc is not None)
            else:
                yield from docs

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch; the loss added to `losses` is the sum over its examples.

        Where nothing is learned by gradient no loss is computed.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        with self.while_learning(examples):
            self.learn_at_once(examples)
            return self._learn(
                examples if self.learns_by_gradient else [],
                self.make_training_inputs,
                lambda part, inputs, logits: self.compute_loss(part, logits),
                drop=drop,
                sgd=sgd,
                losses=losses,
            )

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Pull the logits toward those before `nlp.resume_training`, to forget less."""
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.rehearse")
        if self._rehearsal_model is None:
            losses = losses if losses is not None else {}
            losses.setdefault(self.name, 0.0)
            return losses
        logits_before = self._rehearsal_model.get_ref("logits")

        def distance(part: Sequence[Example], inputs: Any, logits: Any) -> Tensor:
            before, _ = run_tensors(logits_before, inputs, is_train=False)
            return squared_distance(before, logits)

        with self.while_learning(examples):
            return self._learn(
                examples,
                lambda part: self.make_inputs([eg.predicted for eg in part]),
                distance,
                drop=drop,
                sgd=sgd,
                losses=losses,
            )

    def finish_update(self, sgd: Optimizer) -> None:
        """Step the weights with the gradients collected so far."""
        for shim in find_shims(self.model):
            shim.owner = self.name  # for errors; `nlp.rename_pipe` may have changed it
        self.model.finish_update(sgd)

    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Run with other values of the parameters until the iterator is resumed or dropped."""
        with self.model.use_params(params):
            yield

    def _annotate(self, docs: Sequence[Doc]) -> int:
        self.set_annotations(docs, self.predict(docs))
        return len(docs)

    @property
    def _batch_limit(self) -> BatchLimit:
        if self._limit is None:
            runtime = get_shim(self.logits_model).runtime
            self._limit = BatchLimit(runtime.batch_tokens, name=self.name)
        return self._limit

    def _learn(
        self,
        examples: Sequence[Example],
        inputs_of: Callable[[Sequence[Example]], Any],
        loss_of: Callable[[Sequence[Example], Any, Any], Tensor],
        *,
        drop: float,
        sgd: Optimizer | None,
        losses: dict[str, float] | None,
    ) -> dict[str, float]:
        losses = losses if losses is not None else {}
        losses.setdefault(self.name, 0.0)
        lengths = _count_tokens([eg.predicted for eg in examples])
        if not any(lengths):
            return losses
        set_dropout_rate(self.model, drop)
        add_gradients = partial(self._add_gradients, inputs_of=inputs_of, loss_of=loss_of)
        if _has_listener(self.logits_model):
            values = [add_gradients(examples)]
        else:
            values = list(self._batch_limit.run(add_gradients, examples, lengths))
        learned = [value for value in values if value is not None]
        if not learned:
            return losses
        if not all(map(math.isfinite, learned)):
            shim = get_shim(self.logits_model)
            shim.owner = self.name
            shim.refuse_step("the loss")
            return losses
        if sgd is not None and sgd is not False:
            self.finish_update(sgd)
        losses[self.name] += sum(learned)
        return losses

    def _add_gradients(
        self,
        examples: Sequence[Example],
        *,
        inputs_of: Callable[[Sequence[Example]], Any],
        loss_of: Callable[[Sequence[Example], Any, Any], Tensor],
    ) -> float | None:
        """The loss of a part of a batch, or None if there is nothing to learn in it.

        Its gradients are added to those before, unless the loss or anything else is amiss.
        """
        inputs = inputs_of(examples)
        if inputs is None or not any(len(eg.predicted) for eg in examples):
            return None
        with all_or_nothing(get_shim(self.logits_model).module.parameters()):
            outputs, backprop = run_tensors(self.logits_model, inputs, is_train=True)
            logits = detach_logits(outputs)
            check = partial(check_loss_value, component=self.name, loss_name=self.loss_name)
            loss = check(loss_of(examples, inputs, logits))
            value = float(loss.detach())
            if math.isfinite(value):
                loss.backward()
                gradients = take_gradients(logits)
                check(loss, is_connected=has_gradients(gradients))
                backprop(gradients)
        return value

    def _skip(self, reason: str, count: int, *, value: str, step: str) -> None:
        """Count what is not learned from, and log the first for each reason."""
        self.skipped.add(reason, count, name=self.name, value=value, step=step)

    def _add_labels(self, given: Iterable[str] | None, find: Callable[[], Iterable[str]]) -> None:
        """Add the labels that `initialize` was given, or else those that examples have.

        Raises:
            ValueError: a single text is given.
        """
        if isinstance(given, str):
            raise ValueError(
                f"{self.name!r}: labels must be a list of labels, got {given!r}: put it into a "
                f"list, [{given!r}]"
            )
        for label in find() if given is None else given:
            self.add_label(label)

    def _begin_initialize(
        self, get_examples: Callable[[], Iterable[Example]], nlp: Language | None
    ) -> None:
        """Look at what `get_examples` gives, and note what the pipeline requires.

        Only the first example is looked at. spaCy's own check reads all of them, which for a
        corpus is a pass over the disk.
        """
        if nlp is not None:
            note_requirements(nlp)
        caller = f"{self.name!r}, {type(self).__name__}.initialize"
        if not callable(get_examples):
            validate_get_examples(get_examples, caller)
        if next(iter(get_examples()), None) is None:
            raise ValueError(
                f"{self.name!r}: initialize() got no examples: look whether the training corpus "
                "is empty, and whether get_examples gives them again each time it is called"
            )
        validate_examples(islice(get_examples(), 1), caller)


def _has_listener(model: Model[Any, Any]) -> bool:
    """Whether something in a model waits for a shared one, which has run on the whole batch."""
    return any(hasattr(node, "verify_inputs") for node in model.walk())


def _count_tokens(docs: Sequence[Doc]) -> list[int]:
    return [len(doc) for doc in docs]
