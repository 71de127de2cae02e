"""Models that do not depend on each other, trained at the same time: in processes, or by Ray."""
