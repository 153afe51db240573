"""What cannot be learned is counted each time and logged once."""

import logging

from spacy_torch.components.skipped import Skipped


def test_every_reason_is_logged_once_and_counted_always(caplog):
    skipped = Skipped()
    with caplog.at_level(logging.WARNING):
        for reason, count in [("tags", 2), ("heads", 1), ("tags", 3), ("deps", 0)]:
            skipped.add(reason, count, name="pipe", value="X", step="look")
    assert skipped == {"tags": 5, "heads": 1}
    expected = "'pipe' learns nothing from {}, such as 'X': look. This is logged once"
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all(m.startswith(expected.format(r)) for m, r in zip(messages, skipped, strict=True))
