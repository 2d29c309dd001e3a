"""Ids and domains of whole columns are those of one at a time."""

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webinstruct_assets.core.ids import row_id, row_ids
from webinstruct_assets.core.urls import registrable_domain, registrable_domains

host = st.sampled_from(
    ["example.com", "www.Example.COM", "a.b.co.uk", "co.uk", "localhost", "127.0.0.1", "[::1]", "[::1", "münchen.de", "x..com",
     "xn--mnchen-3ya.de", "user:pw@h.example.org:8080", "", "a.blogspot.com", "foo.ck", "www.ck", "s3.amazonaws.com"]
)  # fmt: skip
url = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(
            ["http://", "https://", "HTTP://", "ftp://", "", "//", "dns:", "http:/", " http://", "ht\ttp://"]
        ),
        st.one_of(host, st.text(max_size=12)),
        st.sampled_from(["", "/", "/a/b?c=d", "?q=http://other.example/", "#f", "\\x", "\n/", ":80/"]),
    ),
    st.text(max_size=20),
)


@settings(deadline=None)
@given(st.lists(url, max_size=10))
@example(
    ["http://a.example.co.uk/x", "http://a.example.co.uk/y", "", "http://a.example.co.uk?x", "http://e.com\\@f.com/"]
)
def test_domains(urls: list[str]) -> None:
    found = registrable_domains(pl.Series("url", urls, dtype=pl.String))
    assert found.to_list() == [registrable_domain(url) for url in urls]


@given(st.text(max_size=30), st.lists(st.integers(0, 2**62)))
def test_ids(parent: str, numbers: list[int]) -> None:
    assert row_ids("r1", parent, numbers) == [row_id("r1", parent, number) for number in numbers]
