"""The optimization loop that the parts of stage 0 share: AdamW, one cycle of the learning rate, a progress bar."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm


WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0
STEPS_BETWEEN_LOGS = 20


def optimize(
    parameters: Iterable[nn.Parameter],
    compute_losses: Callable[[int], dict[str, Tensor]],
    learning_rate: float,
    num_steps: int,
    description: str,
) -> None:
    """
    Minimizes the sum of some losses.

    Args:
        parameters (iterable of `nn.Parameter`):
            What is trained, in place.
        compute_losses (callable):
            From the number of the step to its losses by name.
        learning_rate (`float`):
            Peak of the cycle.
        num_steps (`int`):
            Optimizer steps.
        description (`str`):
            Of the progress bar, which also shows the losses.
    """
    parameters = list(parameters)
    optimizer = AdamW(parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = OneCycleLR(optimizer, learning_rate, total_steps=num_steps)
    progress = tqdm(range(num_steps), desc=description)
    for step in progress:
        losses = compute_losses(step)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        optimizer.step()
        schedule.step()
        if step % STEPS_BETWEEN_LOGS == 0:
            progress.set_postfix({name: f"{loss.item():.4f}" for name, loss in losses.items()})
