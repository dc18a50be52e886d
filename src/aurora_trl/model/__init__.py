"""The policy: a backbone, the [SEG] projector and SAM. Knows nothing of TRL, rewards or data sets."""
