"""The text tower on short texts, without the places behind them that have no say."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def text_embeddings(model: nn.Module, tokens: Tensor) -> Tensor:
    """What an open_clip model's `encode_text` gives, each row of length 1.

    CLIP's own text tower reads from left to right and takes what stands at a text's end token, so nothing behind it
    counts: a prompt of 13 tokens takes a sixth of the 77 that it is filled up to. Other towers run as they are.

    Args:
        tokens: (n, context length) int64.
    Returns:
        (n, joint) of the model's number type.
    """
    text: Any = model
    if getattr(model, "text_pool_type", None) != "argmax" or getattr(model, "attn_mask", None) is None:
        rows: Tensor = text.encode_text(tokens, normalize=True)
        return rows
    end = tokens.argmax(1)  # the end token has the greatest number
    length = int(end.max()) + 1
    dtype = text.transformer.get_cast_dtype()
    x = text.token_embedding(tokens[:, :length]).to(dtype) + text.positional_embedding[:length].to(dtype)
    x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:length, :length]))
    at_end = x[torch.arange(len(x), device=x.device), end]
    projection = text.text_projection
    if projection is not None:
        at_end = projection(at_end) if isinstance(projection, nn.Linear) else at_end @ projection
    return F.normalize(at_end, dim=-1)
