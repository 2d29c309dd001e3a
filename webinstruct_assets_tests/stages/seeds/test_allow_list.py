"""Which pages a list of hosts and URL patterns covers, and what it says of a wrong entry."""

from pathlib import Path

import pytest

from webinstruct_assets.core.config import load_yaml
from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.workspace import PROJECT_ROOT
from webinstruct_assets.stages.seeds.allow_list import AllowList


def listed(**content: object) -> AllowList:
    return AllowList.model_validate(content)


def test_an_allowed_host_covers_its_subdomains_only() -> None:
    one = listed(hosts=[{"host": "study.example", "reason": "x"}])
    assert one.match("https://study.example/a") == one.match("http://www.study.example") == "allow_list:study.example"
    assert one.match("https://notstudy.example/") == one.match("https://example/") == one.match("no url") == ""
    assert one.whole("a.study.example") and not one.whole("example")


def test_the_longer_of_two_hosts_counts_and_paths_narrow_it() -> None:
    two = listed(
        hosts=[
            {"host": "site.example", "reason": "x", "paths": ["/quiz/*", "*/exam-?"]},
            {"host": "whole.site.example", "reason": "y"},
        ]
    )
    assert two.match("https://whole.site.example/anything") == "allow_list:whole.site.example"
    assert two.match("https://www.site.example/quiz/a/b?c") == "allow_list:site.example"
    assert two.match("https://site.example/old/exam-2") == "allow_list:site.example"
    assert two.match("https://site.example/old/exam-22") == two.match("https://site.example/news") == ""
    assert two.entry("site.example") and not two.whole("site.example")


def test_patterns_hold_for_any_host() -> None:
    both = listed(
        patterns=[
            {"glob": "/past-papers/*", "reason": "x"},
            {"regex": r"/(exam|quiz)/\d+", "reason": "y"},
        ]
    )
    assert both.match("https://a.example/past-papers/2019") == "pattern:/past-papers/*"
    assert both.match("https://b.example/en/quiz/12/") == r"pattern:/(exam|quiz)/\d+"
    assert both.match("https://b.example/en/past-papers/1") == both.match("https://[broken") == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hosts: [{host: 'https://a.example/', reason: x}]", r"'hosts.0.host'.*not a lower-case host name"),
        ("hosts: [{host: '*.a.example', reason: x}]", r"'hosts.0.host'.*wildcard"),
        ("hosts: [{host: a.example}]", r"'hosts.0.reason'.*[Ff]ield required"),
        ("hosts: [{host: a.example, reason: x, kind: shop}]", r"'hosts.0.kind'"),
        ("hosts: [{host: a.example, reason: x}, {host: a.example, reason: y}]", r"'hosts'.*listed twice"),
        ("hosts: [{host: a.example, reason: x, paths: [quiz/]}]", r"'hosts.0.paths'.*starts with neither"),
        ("patterns: [{regex: '(', reason: x}]", r"'patterns.0.regex'.*not a regular expression"),
        ("patterns: [{reason: x}]", r"'patterns.0'.*either glob or regex"),
        ("patterns: [{glob: '/a', regex: b, reason: x}]", r"'patterns.0'.*either glob or regex"),
    ],
)
def test_wrong_entries_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"hosts.yaml: field {message}"):
        load_yaml(path, AllowList)


@pytest.mark.parametrize("name", ["seed_hosts.yaml", "seed_hosts_demo.yaml"])
def test_shipped_lists_are_valid_and_give_reasons(name: str) -> None:
    shipped = load_yaml(PROJECT_ROOT / "config" / name, AllowList)
    assert all(len(item.reason) > 8 and item.kind != "other" for item in shipped.hosts)
    assert name.endswith("demo.yaml") or 80 <= len(shipped.hosts) <= 160
