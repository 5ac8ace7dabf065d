"""Which training rows stay, and which come again, decided after duplicates and splits are.

Reading order: `selection.py` (the rows that are in question, and the rules by number), `influence.py` (the rule by what
rows are like, on `features.py`), `balance.py` (classes). Validation and test rows are never touched. A row that is left
out gets a reason, as every other that is dropped.
"""

from workers.data.select.balance import balance
from workers.data.select.selection import select

__all__ = ["balance", "select"]
