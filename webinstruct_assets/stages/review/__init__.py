"""Human review: a sample of refined pairs, what reviewers said of them, and how far they agree (paper §5.4, Figure 6)."""
