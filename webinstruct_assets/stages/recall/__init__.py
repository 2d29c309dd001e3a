"""Recall: fastText finds instruction pages, domains are judged, and both are done a second time (paper §2.1).

seed_set -> fasttext_model -> round1_recall -> round1_domains -> round2_seed_set -> round2_model
-> round2_recall -> round2_domains -> recalled_urls
"""
