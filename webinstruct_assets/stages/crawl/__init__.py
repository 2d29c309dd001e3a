"""Crawls laid out as Common Crawl's: reading them wherever they lie, and writing them (the demo's, imported WARCs)."""
