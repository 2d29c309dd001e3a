"""Results: everything that ``benchmark_scores`` holds, as tables, figures and one page."""
