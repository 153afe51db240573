"""What ranks do in tests. As a script: fail once, then tell each other who is there."""

import sys
from pathlib import Path

from torch import distributed

from spacy_torch.distributed.world import find_world, leave_world


def say_hello():
    """Who this is, what rank 0 says and what all say."""
    world = find_world(timeout=60)
    return (
        world.rank,
        world.size,
        world.broadcast({"from": world.rank}),
        world.gather(f"hello from {world.rank}"),
    )


def leave_twice():
    """Whether there is a group, before it is left and after."""
    seen = [distributed.is_initialized()]
    leave_world(has_failed=True)
    leave_world()
    seen.append(distributed.is_initialized())
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    return seen


def crash():
    """Fail."""
    return 1 / 0


def crash_once(folder: Path) -> None:
    """Fail on rank 1 when called for the first time, else write down what the ranks say."""
    world = find_world(timeout=60)
    said = world.gather(f"hello from {world.rank}")
    if world.rank == 1 and not (folder / "crashed").exists():
        (folder / "crashed").touch()
        crash()
    world.gather("both are past the crash")
    (folder / str(world.rank)).write_text(str(said))


if __name__ == "__main__":
    crash_once(Path(sys.argv[1]))
