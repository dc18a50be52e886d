"""What the trainers change in the optimizer: one learning rate for the mask decoder, another for the rest."""

from torch import nn
from torch.optim import Optimizer


MASK_DECODER = "sam.mask_decoder."


def scale_mask_decoder_lr(optimizer: Optimizer, model: nn.Module, scale: float) -> None:
    """
    Moves the mask decoder's parameters into groups of their own, whose learning rate is `scale` times the others'.

    Call it before the learning rate scheduler is made. A decoder that has learned to follow prompts forgets it when
    it trains as fast as a policy from scratch (docs/log.md).
    """
    slow = {id(parameter) for name, parameter in model.named_parameters() if MASK_DECODER in name}
    if scale == 1.0 or not slow:
        return
    for group in list(optimizer.param_groups):
        decoder_parameters = [parameter for parameter in group["params"] if id(parameter) in slow]
        if decoder_parameters:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in slow]
            settings = {key: value for key, value in group.items() if key not in ("params", "lr")}
            optimizer.add_param_group({"params": decoder_parameters, "lr": group["lr"] * scale, **settings})
