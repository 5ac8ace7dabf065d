"""Stage `teach`: a teacher answers the prompts of the dataset, and its answers become what the student is trained on.

Reading order: `stage.py` (what happens, in order), `questions.py` (what is asked), `answering.py` (the teacher at work,
kept in checkpoints), `lessons.py` (the dataset with its answers). Training follows as for any other dataset: the stage
is over by then, and the teacher gone.
"""
