"""From a WARC record to a cleaned page and the pairs its markup and structure show."""
