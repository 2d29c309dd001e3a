"""Verification: pairs whose answer a model finds again on its own (as WebInstruct-verified; optional, off by default)."""
