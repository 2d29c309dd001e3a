"""What a pair of the dataset descends from, down to the WARC record of its page: the way that records of a crawl take."""

import polars as pl

from webinstruct_assets.core.lineage import Chain

# pair_id: qa-… of the extracted pair      page_id: pg-…      then where the page's WARC record lies (recalled_urls)
LINEAGE: dict[str, pl.DataType] = {
    "pair_id": pl.String(),
    "page_id": pl.String(),
    "warc_filename": pl.String(),
    "warc_record_offset": pl.Int64(),
    "warc_record_length": pl.Int64(),
    "content_digest": pl.String(),
    "fetch_time": pl.String(),
}
# The assets above refined_qa, nearest first. A stage that comes between them has to stand here, or the join refuses rows.
CHAIN: Chain = {
    "deduplicated_qa": {},
    "decontaminated_qa": {},
    "extracted_qa": {"id": "pair_id"},
    "pages": {"id": "page_id"},
    "recalled_urls": {name: name for name in LINEAGE if name not in ("pair_id", "page_id")},
}
