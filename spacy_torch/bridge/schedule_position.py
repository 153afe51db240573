"""How far an optimizer's schedules have run, so that a resumed training can catch up."""

from collections.abc import Iterator
from typing import cast

from thinc.optimizers import Optimizer


class CountedSchedule(Iterator[float]):
    """A schedule that knows how many values have been taken from it."""

    def __init__(self, values: Iterator[float], *, taken: int):
        self.values = values
        self.taken = taken

    def __next__(self) -> float:
        value = next(self.values)
        self.taken += 1
        return value


def count_schedules(optimizer: Optimizer) -> None:
    """Start counting, once, before `optimizer.step_schedules()` is first called.

    A generator does not tell its position. `step` does this by itself; call it where an
    optimizer that is to be saved only ever steps Thinc layers.
    """
    schedules = cast("dict[str, Iterator[float]]", optimizer.schedules)
    for name, schedule in schedules.items():
        if not isinstance(schedule, CountedSchedule):
            # The constructor has taken the first value.
            schedules[name] = CountedSchedule(schedule, taken=1)


def schedule_positions(optimizer: Optimizer) -> dict[str, int]:
    """How many values have been taken from each schedule.

    Raises:
        ValueError: the optimizer has been used before its schedules were counted.
    """
    uncounted = [
        name
        for name, schedule in optimizer.schedules.items()
        if not isinstance(schedule, CountedSchedule)
    ]
    if uncounted and optimizer.nr_update:
        raise ValueError(
            f"the position of the schedule of {uncounted[0]} is not known: call "
            "count_schedules(optimizer) before the training starts"
        )
    count_schedules(optimizer)
    return {
        name: schedule.taken
        for name, schedule in optimizer.schedules.items()
        if isinstance(schedule, CountedSchedule)
    }


def forward_schedule(optimizer: Optimizer, name: str, *, taken: int) -> None:
    """Run a schedule up to the given number of values and set the last one.

    Raises:
        ValueError: the schedule is past that, or ends before.
    """
    count_schedules(optimizer)
    schedule = optimizer.schedules[name]
    assert isinstance(schedule, CountedSchedule)
    if schedule.taken > taken:
        raise ValueError(
            f"the schedule of {name} is at value {schedule.taken}, past {taken}: load into an "
            "optimizer that has not been used"
        )
    while schedule.taken < taken:
        try:
            setattr(optimizer, name, next(schedule))
        except StopIteration as error:
            raise ValueError(
                f"the schedule of {name} ends after {schedule.taken} values, the saved one had "
                f"given {taken}: use the config that the training was started with"
            ) from error
