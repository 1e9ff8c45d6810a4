"""How a trainer gets its sequences: one order of rows for all, and a storage a mode behind it."""
