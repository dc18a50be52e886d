"""Numbers of papers to stand beside ours. Percent; J, F and J&F of the seen, the unseen and the mixed split."""

# Table 1 of the AURORA paper, in its order; SAM2-LOVE is called SAM-LAVS there. Its Mix is the plain mean of Seen and
# Unseen. The J&F that it prints for CRAB's Mix is not the mean of J and F (51.8); it is given as printed.
TABLE_1 = {
    "AVSBench": ((23.2, 51.1, 37.2), (32.4, 54.7, 43.5), (27.8, 52.9, 40.3)),
    "AVSegFormer": ((33.5, 47.0, 40.2), (36.1, 50.1, 43.1), (34.8, 48.6, 41.7)),
    "GAVS": ((28.9, 49.8, 39.4), (29.8, 49.7, 39.8), (29.4, 49.8, 39.6)),
    "ReferFormer": ((31.3, 50.1, 40.7), (30.4, 48.8, 39.6), (30.9, 49.5, 40.2)),
    "R2VOS": ((25.0, 41.0, 33.0), (27.9, 49.8, 38.9), (26.5, 45.4, 35.9)),
    "EEMC": ((34.2, 51.3, 42.8), (49.5, 64.8, 57.2), (41.9, 58.1, 50.0)),
    "SAM2-LOVE": ((43.5, 51.9, 47.7), (66.5, 72.3, 69.4), (55.0, 62.1, 58.5)),
    "TSAM": ((43.4, 56.8, 50.1), (54.6, 66.4, 60.5), (49.0, 61.6, 55.3)),
    "CRAB": ((40.5, 58.0, 49.3), (45.6, 63.0, 54.3), (43.1, 60.5, 46.2)),
    "AURORA": ((63.2, 72.8, 68.0), (69.7, 76.4, 73.0), (66.5, 74.6, 70.1)),
}
