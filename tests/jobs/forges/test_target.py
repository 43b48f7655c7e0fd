from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import UsageError
from jobs.forges import base, registry
from jobs.forges.target import Target, normalise_url, parse_target, spellings

GITHUB = "https://github.com/pallets/flask"
GITLAB = "https://gitlab.com/group/sub/tool"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("123", Target("pull", 123)),
        ("#123", Target("pull", 123)),
        (" 123 ", Target("pull", 123)),
        ("123:debug", Target("pull", 123, name="debug")),
        ("pallets/flask#9", Target("pull", 9, repository="pallets/flask")),
        ("pallets/flask#9:two", Target("pull", 9, name="two", repository="pallets/flask")),
        (f"{GITHUB}/pull/5", Target("pull", 5, repository=GITHUB)),
        (f"{GITHUB}/pull/5/files", Target("pull", 5, repository=GITHUB)),
        (f"{GITHUB}/issues/7", Target("issue", 7, repository=GITHUB)),
        (f"{GITHUB}/pull/5?diff=split#issue-1", Target("pull", 5, repository=GITHUB)),
        ("https://git.corp.example/a/b/pull/3", Target("pull", 3, repository="https://git.corp.example/a/b")),
        (f"{GITLAB}/-/merge_requests/12", Target("pull", 12, repository=GITLAB)),
        (f"{GITLAB}/-/issues/4", Target("issue", 4, repository=GITLAB)),
        ("main", Target("branch", ref="main")),
        ("feature/x-1.2", Target("branch", ref="feature/x-1.2")),
        ("feature/x:again", Target("branch", ref="feature/x", name="again")),
        ("a" * 40, Target("commit", ref="a" * 40)),
        ("A" * 40 + ":x", Target("commit", ref="a" * 40, name="x")),
        ("0" * 64, Target("commit", ref="0" * 64)),
        ("fix#12", Target("branch", ref="fix#12")),
        ("branch:ls", Target("branch", ref="ls")),
        ("branch:owner/repo#1:two", Target("branch", ref="owner/repo#1", name="two")),
        ("branch:123", Target("branch", ref="123")),
        *(
            (f"{GITHUB}/pull/5{end}", Target("pull", 5, repository=GITHUB))
            for end in (
                ".diff",
                ".patch",
                "/commits",
                "/commits/" + "a" * 40,
                "/changes",
                "/changes/abc..def",
                "/files/abc..def",
                "/checks",
                "/files#diff-1",
            )
        ),
        (f"{GITHUB}/commit/{'A' * 40}", Target("commit", ref="a" * 40, repository=GITHUB)),
        (f"{GITHUB}/tree/feature/x%23y", Target("branch", ref="feature/x#y", repository=GITHUB)),
        *(
            (f"{GITLAB}{form}", Target("pull", 12, repository=GITLAB))
            for form in (
                "/-/merge_requests/12/diffs?commit_id=1",
                "/-/merge_requests/12.diff",
                "/merge_requests/12",
                "/merge_requests/12/diffs",
                "/-/merge_requests/12/commits",
            )
        ),
        (f"{GITLAB}/-/work_items/4", Target("issue", 4, repository=GITLAB)),
        (f"{GITLAB}/-/commit/{'a' * 64}", Target("commit", ref="a" * 64, repository=GITLAB)),
        (
            "https://bitbucket.org/a/b/pull-requests/7/diff",
            Target("pull", 7, repository="https://bitbucket.org/a/b"),
        ),
        (
            "https://bitbucket.corp.example/projects/KEY/repos/tool/pull-requests/7/overview",
            Target("pull", 7, repository="https://bitbucket.corp.example/scm/KEY/tool"),
        ),
        ("https://codeberg.org/a/b/pulls/7/files", Target("pull", 7, repository="https://codeberg.org/a/b")),
        (
            "https://codeberg.org/a/b/src/branch/main",
            Target("branch", ref="main", repository="https://codeberg.org/a/b"),
        ),
        *(
            (f"{base}{form}", Target("commit", ref="abc1234" if "ABC" in form else "a" * 40, repository=base))
            for base, form in (
                (GITHUB, "/commit/ABC1234"),
                (GITHUB, f"/commit/{'a' * 40}.patch"),
                (GITHUB, f"/commits/{'a' * 40}/"),
                (GITHUB, f"/tree/{'A' * 40}"),
                (GITLAB, "/commit/ABC1234"),
                (GITLAB, f"/-/commits/{'a' * 40}?ref_type=heads"),
                ("https://codeberg.org/a/b", f"/src/commit/{'a' * 40}/docs/x.md"),
                ("https://codeberg.org/a/b", "/commits/commit/ABC1234"),
                ("https://bitbucket.org/a/b", f"/src/{'a' * 40}/x.py"),
            )
        ),
        *(
            (f"{base}{form}", Target("branch", ref=branch, repository=base))
            for base, form, branch in (
                (GITHUB, "/tree/20240101/", "20240101"),
                (GITHUB, "/commits/feature/x/", "feature/x"),
                (GITLAB, "/-/commits/main?ref_type=heads", "main"),
                (GITLAB, "/tree/main", "main"),
                ("https://codeberg.org/a/b", "/commits/branch/main", "main"),
                ("https://bitbucket.org/a/b", "/branch/feature/x", "feature/x"),
                ("https://bitbucket.org/a/b", "/src/feature%2Fx/dir/file.py", "feature/x"),
            )
        ),
        *(
            (text, Target("pull", 5, repository=GITHUB))
            for text in (
                "github.com/pallets/flask/pull/5/files",
                "HTTPS://GitHub.com/pallets/flask/pull/5/",
                f"<{GITHUB}/pull/5>",
                f"{GITHUB}/pull/5/files/abc..def?w=1#diff-2",
                "https://api.github.com/repos/pallets/flask/pulls/5",
            )
        ),
        (f"{GITLAB}/issues/4", Target("issue", 4, repository=GITLAB)),
        ("group/sub/tool!12:two", Target("pull", 12, name="two", repository="group/sub/tool")),
        ("!12", Target("pull", 12)),
        ("refs/pull/12/head", Target("pull", 12)),
        ("refs/merge-requests/12/head:two", Target("pull", 12, name="two")),
        ("refs/heads/feature/x", Target("branch", ref="feature/x")),
        ("0123456", Target("commit", ref="0123456")),
        (f"{GITHUB}/commit/{'A' * 50}", Target("commit", ref="a" * 50, repository=GITHUB)),
        ("branch:!12", Target("branch", ref="!12")),
        ("v1.2/pull/5", Target("branch", ref="v1.2/pull/5")),
        (
            "https://bitbucket.org/a/b/pull-requests/7/Some%20Title/diff",
            Target("pull", 7, repository="https://bitbucket.org/a/b"),
        ),
        (
            "https://corp.example/bitbucket/users/me/repos/tool/pull-requests/7",
            Target("pull", 7, repository="https://corp.example/bitbucket/scm/~me/tool"),
        ),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "#0", "123:", "123:a b", "123:$(reboot)", "123:a;b", "123:a/b", "-x", "--force", "ls",
        "a..b", "a b", "x~1", "HEAD^", "a\nb", "x.lock", "/x", "x/", "@", "x@{1}", "a//b", "a/.b",
        "https://github.com/pallets/flask", "https://github.com/pallets/flask/pull/0",
        "branch:", "branch:-x", "branch:a..b", "https://github.com/pallets/flask/tree/a..b", "https://[x",
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert caught.value.hint


@pytest.mark.parametrize("account", ["me:hunter2", "ghp_hunter2hunter2hunter2"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(account: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(f"https://{account}@github.com/pallets/flask/pull/5")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        target = parse_target(text)
    except UsageError:
        return
    assert target.shown
    assert not target.shown.startswith("-")
    assert "\n" not in target.name


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("pallets/flask", GITHUB),
        (f"{GITHUB}.git", GITHUB),
        (f"{GITHUB}/", GITHUB),
        ("git@github.com:pallets/flask.git", "git@github.com:pallets/flask"),
        ("https://mira@github.com/pallets/flask.git", GITHUB),
        ("ssh://git@example.org:2222/a/b.git", "ssh://git@example.org:2222/a/b"),
        ("git+ssh://git@example.org/a/b.git", "ssh://git@example.org/a/b"),
        ("git@[::1]:a/b.git", "git@[::1]:a/b"),
        ("[git@example.org:2222]:a/b.git", "[git@example.org:2222]:a/b"),
        ("https://WWW.GitHub.com:443/pallets/flask/pulls?q=1#x", GITHUB),
        (f"{GITLAB}/-/merge_requests?state=opened", GITLAB),
    ],
)
def test_addresses_have_one_form(text: str, url: str, tmp_path: Path) -> None:
    assert normalise_url(text, tmp_path) == url


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (GITHUB, "git@github.com:pallets/flask", True),
        (GITHUB, "ssh://git@github.com/pallets/flask", True),
        (GITHUB, "ssh://git@ssh.github.com:443/pallets/flask", True),
        (GITHUB, "git@github.com:/pallets/flask", True),
        ("https://[::1]/a/b", "git@[::1]:a/b", True),
        ("https://Git.example/a/b", "ssh://git@git.example:22/a/b", True),
        (GITHUB, "git@github.com:pallets/click", False),
        (GITHUB, "http://github.com/pallets/flask", False),  # anybody on the way can answer
        (GITHUB, "me@github.com:pallets/flask", False),
        ("https://git.example:8443/a/b", "git@git.example:a/b", False),
        ("https://git.example/a/b", "ssh://git@git.example:2222/a/b", False),
        ("/srv/a/b", "https://srv/a/b", False),
    ],
)
def test_ssh_and_https_addresses_of_one_repository(one: str, other: str, same: bool) -> None:
    assert bool(set(spellings(one)[1:]) & set(spellings(other)[1:])) is same
    assert (spellings(one)[0], spellings(other)[0]) == (one, other)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("git@[::1]:a/b", "::1", "a/b"),
        ("[git@example.org:2222]:a/b", "example.org", "a/b"),
        ("git@Example.org:/a/b.git", "example.org", "a/b"),
    ],
)
def test_parts_of_an_address(url: str, host: str, path: str) -> None:
    assert (base.host(url), base.repository_path(url)) == (host, path)


def test_a_directory_wins_over_owner_and_repo(tmp_path: Path) -> None:
    (tmp_path / "pallets" / "flask").mkdir(parents=True)
    assert normalise_url("pallets/flask", tmp_path) == str(tmp_path / "pallets" / "flask")
    assert normalise_url(".", tmp_path) == str(tmp_path)
    assert normalise_url(f"file://{tmp_path}", Path("/")) == str(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "nowhere",
        "https://me:hunter2@example.org/a/b",
        "https://ghp_hunter2hunter2hunter2@example.org/a/b",
        "ftp://example.org/a",
        "https://example.org:port/a/b",
        "a b",
        "https://[x/a/b",
        "~no-such-user/x",
        "x" * 300,
    ],
)
def test_what_is_no_repository_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        normalise_url(text, tmp_path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "kind", "ref", "page", "slug"),
    [
        (GITHUB, "github", "refs/pull/5/head", f"{GITHUB}/pull/5", "pallets/flask"),
        ("git@github.com:pallets/flask", "github", "refs/pull/5/head", f"{GITHUB}/pull/5", "pallets/flask"),
        (GITLAB, "gitlab", "refs/merge-requests/5/head", f"{GITLAB}/-/merge_requests/5", "group/sub/tool"),
        (
            "https://bitbucket.corp.example/scm/KEY/tool",
            "bitbucket",
            "refs/pull-requests/5/from",
            "https://bitbucket.corp.example/projects/KEY/repos/tool/pull-requests/5",
            "scm/KEY/tool",
        ),
        ("/srv/git/tool.git", "plain", "refs/pull/5/head", "", "tool"),
        ("https://example.org/x/y", "plain", "refs/pull/5/head", "", "x/y"),
    ],
)
def test_forges(url: str, kind: str, ref: str, page: str, slug: str) -> None:
    forge = registry.for_url(url)
    assert (forge.kind, forge.pull_ref(5), forge.pull_url(url, 5), forge.slug(url)) == (kind, ref, page, slug)
    assert registry.get(kind) is forge


def test_branches_and_commits_have_refs() -> None:
    forge = registry.for_url(GITHUB)
    assert forge.branch_ref("main") == "refs/heads/main"
    assert forge.branch_ref("refs/tags/v1") == "refs/tags/v1"
    assert forge.branch_ref("a" * 40) == "a" * 40


def test_two_hosts_never_share_the_name_of_a_token() -> None:
    hosts = [
        "a.b.example", "a-b.example", "a.b-example", "a--b.example", "a_b.example", "a.b.example:8443",
        "a.b.example.8443", "a.b.example.3a8443", "a__2db.example", "a.2db.example", "xn--a.example",
    ]  # fmt: skip
    names = [registry.for_url(f"https://{host}/x/y").token_name(f"https://{host}/x/y") for host in hosts]
    assert len(set(names)) == len(hosts)
    assert names[0] == "GIT_TOKEN_A_B_EXAMPLE"
    assert all(name.replace("_", "").isalnum() for name in names)
    assert registry.for_url("https://a..b/x").token_name("https://a..b/x") == ""
