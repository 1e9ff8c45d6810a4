"""Before money is spent: memory, time, price and quota of a run, by stated formulas."""
