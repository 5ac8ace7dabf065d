"""Several ranks share one training run: torchrun starts them (launch.py, rank.py), and they agree (world.py)."""
