"""Audio-visual language models that a policy can be built on."""
