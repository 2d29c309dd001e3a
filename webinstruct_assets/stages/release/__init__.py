"""The release: pooled pairs of all refiners without exact duplicates, with subject and source type."""
