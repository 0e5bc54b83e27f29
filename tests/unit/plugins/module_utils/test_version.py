# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._errors import GitLabError
from ansible_collections.gitlab_fleet.upgrade.plugins.module_utils._version import GitLabVersion

number = st.integers(0, 9999)
stages = st.one_of(st.just((0, 0)), st.tuples(st.just(1), number), st.just((2, 0)))
versions = st.builds(GitLabVersion, number, number, number, stages, st.sampled_from([None, "ee", "ce"]))

SPELLINGS = [
    ("16.11.10-ee.0", (16, 11, 10), "ee", "16.11.10-ee"),
    ("14.0.12", (14, 0, 12), None, "14.0.12"),
    ("17.8.7-ee", (17, 8, 7), "ee", "17.8.7-ee"),
    ("14.2.7-ce.0", (14, 2, 7), "ce", "14.2.7-ce"),
    ("18.0.0-rc1", (18, 0, 0), None, "18.0.0-rc1"),
    ("18.0.0-rc42-ee", (18, 0, 0), "ee", "18.0.0-rc42-ee"),
    ("18.0.0+rc42.ee.0", (18, 0, 0), "ee", "18.0.0-rc42-ee"),
    ("18.0.0~rc42.ce.0", (18, 0, 0), "ce", "18.0.0-rc42-ce"),
    ("19.4.0-pre", (19, 4, 0), None, "19.4.0-pre"),
    ("v16.4.3-ee", (16, 4, 3), "ee", "16.4.3-ee"),
    ("16.11.10+ee.0", (16, 11, 10), "ee", "16.11.10-ee"),
    ("gitlab-ee 16.11.0", (16, 11, 0), "ee", "16.11.0-ee"),
    ("gitlab-ee=16.11.10-ee.0", (16, 11, 10), "ee", "16.11.10-ee"),
    ("gitlab-ee-16.11.10-ee.0.el9", (16, 11, 10), "ee", "16.11.10-ee"),
    ("gitlab-ce-16.11.10-ce.0.sles15.x86_64", (16, 11, 10), "ce", "16.11.10-ce"),
    ("gitlab-ce_14.0.12-ce.0_amd64.deb", (14, 0, 12), "ce", "14.0.12-ce"),
    ("GitLab 16.11.0-ee", (16, 11, 0), "ee", "16.11.0-ee"),
    ("16.6.0\n", (16, 6, 0), None, "16.6.0"),
]

JUNK = [
    "",
    "16",
    "16.11",
    "16.11.x",
    "16.11.0.5",
    "16.11.0-ee-ee",
    "16.11.0-xe",
    "16.11.0 junk",
    "a16.11.0",
    "16.11.0-rc",
    "-1.0.0",
    "gitlab-ee=16.11.0-ce.0",
    "gitlab-runner 16.11.0",
    "99999.0.0",
    "\u0661\u0666.\u0661\u0661.\u0660",
    None,
    16.11,
]

ASCENDING = [
    "14.0.4",
    "14.0.12",
    "14.9.5-ee.0",
    "14.10.0-pre",
    "14.10.0-rc1",
    "14.10.0-rc2",
    "14.10.0-rc10-ee",
    "14.10.0",
    "14.10.1-ee",
    "15.0.0-pre",
    "15.0.0",
]


@pytest.mark.parametrize(("text", "release", "edition", "canonical"), SPELLINGS)
def test_spellings(text: str, release: tuple[int, int, int], edition: str | None, canonical: str) -> None:
    version = GitLabVersion.parse(text)
    assert (version.release, version.minor, version.edition, str(version)) == (
        release,
        release[:2],
        edition,
        canonical,
    )


@pytest.mark.parametrize("text", JUNK)
def test_junk_is_refused_by_name(text: t.Any) -> None:
    with pytest.raises(GitLabError, match="GitLab") as caught:
        GitLabVersion.parse(text)
    assert repr(text) in str(caught.value)


def test_order_is_that_of_the_releases() -> None:
    ordered = [GitLabVersion.parse(text) for text in ASCENDING]
    assert sorted(set(ordered)) == ordered
    for earlier, later in itertools.combinations(ordered, 2):
        assert earlier < later
        assert later > earlier
        assert earlier != later


@pytest.mark.parametrize(("text", "expected"), [("18.0.0", True), ("18.0.0-rc1", False), ("18.0.0-pre", False)])
def test_is_release(text: str, expected: bool) -> None:
    assert GitLabVersion.parse(text).is_release is expected


@given(versions)
def test_the_canonical_text_reads_back(version: GitLabVersion) -> None:
    again = GitLabVersion.parse(str(version))
    assert (again, again.edition) == (version, version.edition)


@given(versions, versions, versions)
def test_order_is_total(one: GitLabVersion, two: GitLabVersion, three: GitLabVersion) -> None:
    assert (one < two) + (one == two) + (one > two) == 1
    assert (one <= two) == (not two < one)
    low, middle, high = sorted([one, two, three])
    assert low <= middle <= high
    assert low <= high


@given(versions, st.sampled_from([None, "ee", "ce"]))
def test_the_edition_does_not_count(version: GitLabVersion, edition: str | None) -> None:
    other = GitLabVersion(version.major, version.minor_number, version.patch, version.stage, edition)
    assert version == other
    assert hash(version) == hash(other)
    assert len({version, other}) == 1


@given(st.text())
def test_any_text_is_a_version_or_a_domain_error(text: str) -> None:
    try:
        version = GitLabVersion.parse(text)
    except GitLabError:
        return
    assert GitLabVersion.parse(str(version)) == version
