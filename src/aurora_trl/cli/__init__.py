"""The command `aurora-trl`: the only code of the package that parses arguments."""
