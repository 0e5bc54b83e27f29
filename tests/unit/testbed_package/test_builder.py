# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of images, the content digest, and what goes into a package's control files."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from package import deb, source, spec

VERSIONS = ("14.0.12", "14.2.7", "17.11.7")

specs = st.builds(
    spec.Spec,
    st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=3).map(tuple),
    st.sampled_from([None, "single-database", "two-connections", "two-databases"]),
    st.booleans(),
)


@given(specs)
def test_names_round_trip(wanted):
    assert spec.parse(wanted.name, VERSIONS) == wanted


@given(specs)
def test_predecessors_lead_to_a_fresh_install(wanted):
    steps = [wanted]
    while steps[-1].predecessor:
        steps.append(steps[-1].predecessor)
    assert [len(step.versions) for step in steps] == list(range(len(wanted.versions), 0, -1))
    assert {step.gitlab_rb for step in steps} == {wanted.gitlab_rb}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gitlab",
        "gitlab-",
        "gitlab-14.0.12-",
        "gitlab-14.0.12-three",
        "14.0.12",
        "gitlab-14.0.12-to-",
        "gitlab-14.0.12+14.2.7",
        "gitlab-db-only",
    ],
)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(source.BuildError, match=re.escape("use gitlab-VERSION")):
        spec.parse(name, VERSIONS)


def test_an_unknown_version_is_refused_with_those_there_are():
    with pytest.raises(
        source.BuildError, match=re.escape("no version 14.0.11: the application has 14.0.12, 14.2.7, 17.11.7")
    ):
        spec.parse("gitlab-14.0.11", VERSIONS)


def test_digest_sees_content_place_mode_and_text(tmp_path):
    def write(folder, name, content, mode=0o644):
        path = tmp_path / folder / "x" / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
        path.chmod(mode)
        return path.parent

    first = write("1", "a", "content")
    assert source.digest(first) == source.digest(write("2", "a", "content"))
    different = [
        source.digest(first, "text"),
        source.digest("text", first),
        source.digest(write("3", "a", "Content")),
        source.digest(write("4", "b", "content")),
        source.digest(write("5", "a", "content", 0o755)),
    ]
    assert len({source.digest(first), *different}) == 6


def test_digest_leaves_compiled_python_out(tmp_path):
    (tmp_path / "a.py").write_text("pass")
    before = source.digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert source.digest(tmp_path) == before


@pytest.mark.parametrize("version", ["14.0.12", "15.0.5", "16.3.9", "18.2.8"])
@pytest.mark.parametrize("hook", sorted(os.listdir(source.HOOKS)))
def test_hooks_are_filled_in_and_parse(version, hook):
    text = deb.hook_text((source.HOOKS / hook).read_text(), source.Release(version))
    assert not re.search(r"%[A-Z_]+%", text)
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_a_package_accepts_the_postgresql_that_the_hosts_have():
    text = deb.hook_text("PG_MIN=%PG_MIN%", source.Release("18.2.8"))
    assert text == f"PG_MIN={deb.BUNDLED_POSTGRESQL}"


def test_control_file():
    fields = dict(line.split(": ", 1) for line in deb.control_text("14.0.12").splitlines() if not line.startswith(" "))
    assert (fields["Package"], fields["Version"]) == ("gitlab-ee", "14.0.12-ee.0")
    assert "Depends" not in fields
