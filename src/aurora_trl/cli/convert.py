"""`aurora-trl convert`: from other people's checkpoints to a folder of ours."""

import argparse
from pathlib import Path

from aurora_trl.cli.outcome import Outcome


def add(verbs) -> None:
    parser = verbs.add_parser(
        "convert",
        help="a released AURORA or VideoLLaMA2 checkpoint to a folder of ours",
        description="SRC is the AURORA paper's mp_rank_00_model_states.pt (or a folder that holds it; then --base is "
        "the VideoLLaMA2.1-7B-AV folder it goes with), or a VideoLLaMA2-AV folder: with --sam it becomes a policy, "
        "without it a backbone in transformers' nested form. Strict: a tensor that does not fit is named.",
    )
    parser.add_argument("src", metavar="SRC", help="file or folder")
    parser.add_argument("dst", metavar="DST", help="folder to write; must not hold a checkpoint already")
    parser.add_argument("--base", metavar="FOLDER", help="VideoLLaMA2.1-7B-AV, for a released AURORA checkpoint")
    parser.add_argument("--sam", metavar="FILE", help="sam_vit_{h,l,b}.pth to join to a backbone")
    parser.add_argument("--sam-variant", default="vit_h", help="vit_h, vit_l or vit_b (default: vit_h)")
    parser.add_argument("--sam-image-size", type=int, default=224, help="side of SAM's input (default: 224)")
    parser.add_argument("--dtype", default="auto", help="of the weights: bfloat16, float32 (default: as saved)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> Outcome:
    from aurora_trl.model.conversion import is_released, join_backbone, load_bare_backbone, load_released

    src, dst = Path(arguments.src), Path(arguments.dst)
    if (dst / "config.json").exists():
        raise ValueError(f"{dst} holds a checkpoint already. Choose another folder, or delete this one.")
    if is_released(src):
        if arguments.base is None:
            raise ValueError(f"{src} goes with a backbone's configuration and tokenizer: give --base FOLDER.")
        sam_config = {"variant": arguments.sam_variant, "image_size": arguments.sam_image_size}
        model, processor = load_released(src, arguments.base, sam_config, arguments.dtype)
    elif arguments.sam is not None:
        model, processor = join_backbone(
            src, arguments.sam, arguments.sam_variant, arguments.sam_image_size, arguments.dtype
        )
    else:
        model, processor = load_bare_backbone(src, arguments.dtype)
    model.save_pretrained(dst)
    processor.save_pretrained(dst)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return Outcome({"folder": str(dst), "class": type(model).__name__, "num_parameters": num_parameters})
