"""Duplicates: pairs that say the same as another pair leave the data, before refiners are paid for them."""
