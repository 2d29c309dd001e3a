"""A snapshot's funnel: what each step from its crawl to its dataset took in, gave and refused."""
