"""By which tokens machines may join as hosts, and whether one of them may now."""
