"""Words that look unknown while training, so that a module learns what else tells them."""

import pytest
import torch
from torch import nn

from spacy_torch.nn.hash_embed import MultiHashEmbed, TokenBatch

ROWS = [40, 10]
N_TYPES = 2000


def make_batch() -> TokenBatch:
    """All types have the same attributes: rows 0 to 3 of the first table, 40 to 43 of the other."""
    rows = torch.tensor([[0, 1, 2, 3], [40, 41, 42, 43]]).expand(N_TYPES, 2, 4)
    return TokenBatch(
        rows=rows,
        inverse=torch.arange(N_TYPES),
        lengths=torch.tensor([N_TYPES]),
        keys=torch.arange(N_TYPES),
    )


def read_attributes(embed: MultiHashEmbed) -> tuple[torch.Tensor, torch.Tensor]:
    """What is mixed: a vector of the first attribute for each type, and one of the second."""
    embed.mix = nn.Identity()  # type: ignore[assignment]
    words, others = embed(make_batch()).detach().chunk(2, dim=1)
    return words, others


def test_share_of_the_types_is_read_from_random_rows_of_the_first_table():
    embed = MultiHashEmbed(ROWS, width=3, word_dropout=0.25).train()
    known = embed.table[[0, 1, 2, 3]].sum(0).detach()

    words, _ = read_attributes(embed)

    is_hidden = ~torch.isclose(words, known).all(1)
    assert 0.2 < is_hidden.float().mean() < 0.3
    # Sums of four rows of the first table: around four times their mean, and not all alike.
    assert len(words[is_hidden].unique(dim=0)) > 100
    first_table = embed.table[: ROWS[0]].detach()
    torch.testing.assert_close(
        words[is_hidden].mean(0), 4 * first_table.mean(0), atol=0.03, rtol=0.0
    )


def test_other_attributes_of_a_hidden_word_stay():
    embed = MultiHashEmbed(ROWS, width=3, word_dropout=0.5).train()
    expected = embed.table[[40, 41, 42, 43]].sum(0).detach()
    _, others = read_attributes(embed)
    torch.testing.assert_close(others, expected.expand_as(others))


def test_nothing_is_hidden_while_predicting_or_at_a_rate_of_zero():
    for embed in (
        MultiHashEmbed(ROWS, width=3, word_dropout=0.5).eval(),
        MultiHashEmbed(ROWS, width=3).train(),
    ):
        expected = embed.table[[0, 1, 2, 3]].sum(0).detach()
        words, _ = read_attributes(embed)
        torch.testing.assert_close(words, expected.expand_as(words))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match=f"word_dropout must be .* less than 1, got {rate}"):
        MultiHashEmbed(ROWS, width=3, word_dropout=rate)
