"""The objective `grpo`, through TRL's GRPOTrainer instead of our own loop, which does not sample answers.

TRL samples, computes advantages and the loss, and takes the optimizer steps. Ours are the model and its method, the
order of the prompts, the optimizer and its schedule, the rewards, progress, checkpoints and resuming: a later attempt
gives TRL a run of the steps that are left.
"""
