"""What runs of hours need: checkpoints to go on from, progress bars, processes that agree."""
