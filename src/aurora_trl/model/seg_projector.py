"""From the language model's state at [SEG] to a prompt of the mask decoder. Knows only widths."""

from jaxtyping import Float
from torch import Tensor, nn


class SegProjector(nn.Module):
    """
    Linear, ReLU, Linear: LLM width → LLM width → SAM's prompt width, as in the released checkpoints.

    Args:
        hidden_size (`int`):
            Width of the language model.
        prompt_dim (`int`):
            Width of SAM's prompt embeddings (256 for the published SAM).
    """

    def __init__(self, hidden_size: int, prompt_dim: int):
        super().__init__()
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.activation = nn.ReLU()
        self.output = nn.Linear(hidden_size, prompt_dim)

    def forward(self, seg_hidden_states: Float[Tensor, "n hidden"]) -> Float[Tensor, "n prompt_dim"]:
        # Under DeepSpeed there is no autocast: the input follows the parameters.
        seg_hidden_states = seg_hidden_states.to(self.hidden.weight.dtype)
        return self.output(self.activation(self.hidden(seg_hidden_states)))
