"""Human review: a sample of refined pairs, what reviewers said of them, and how far they agree (paper §4, Table 7)."""
