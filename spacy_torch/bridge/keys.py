"""How a torch parameter is named in an optimizer's state."""

ParameterKey = tuple[str, int, str]


def parameter_key(shim_id: int, name: str) -> ParameterKey:
    """The key of one parameter in `Optimizer.mom1`, `.averages` and so on.

    Thinc's own keys are `(node id, name)`, and node and shim ids are counted apart:
    the leading word keeps a shim and a node of the same number from sharing state.
    """
    return ("torch", shim_id, name)


def array_key(shim_id: int, name: str) -> ParameterKey:
    """The key under which an optimizer that works on arrays keeps a torch parameter's state."""
    return ("torch-array", shim_id, name)
