"""The three trainers. With `evaluation`, `cli` and the recipes the only code that imports trl."""
