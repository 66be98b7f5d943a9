"""The mirror: where apt gets Debian's packages from."""

from __future__ import annotations

import pytest

from clusterproof.lab.builds import apt_mirror
from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.core.errors import UsageError


class TestMirror:
    DEBIAN = """
Debian|bookworm|bookworm|oldstable|main|https://deb.example.org/debian/
Debian|bookworm-updates|bookworm-updates|oldstable-updates|main|https://deb.example.org/debian/
Debian|bookworm-security|bookworm-security|oldstable-security|main|https://sec.example.org/debian-security/
Debian Backports|bookworm-backports|bookworm-backports|oldstable-backports|main|https://bpo.example.org/debian/
"""

    def test_is_the_one_that_apt_has_for_the_running_release(self):
        found = apt_mirror.choose(apt_mirror.parse(self.DEBIAN), "bookworm")
        assert found == Mirror(
            "https://deb.example.org/debian", "https://sec.example.org/debian-security"
        )

    def test_is_no_other_vendors_archive_with_a_suite_of_that_name(self):
        text = "Vendor|bookworm|bookworm||main|https://vendor.example.org/linux/\n" + self.DEBIAN
        assert apt_mirror.choose(apt_mirror.parse(text), "bookworm").archive == "https://deb.example.org/debian"

    def test_prefers_the_running_release_among_several(self):
        text = "Debian|sid|sid|unstable|main|https://sid.example.org/debian/\n" + self.DEBIAN
        assert apt_mirror.choose(apt_mirror.parse(text), "bookworm").archive == "https://deb.example.org/debian"
        assert apt_mirror.choose(apt_mirror.parse(text), "sid").archive == "https://sid.example.org/debian"

    def test_is_found_before_apt_has_fetched_anything(self):
        text = (
            "$(ORIGIN)|trixie|$(CODENAME)|$(SUITE)|main|https://deb.example.org/debian/\n"
            "$(ORIGIN)|trixie-security|$(CODENAME)|$(SUITE)|main|https://sec.example.org/debian-security/\n"
            "$(ORIGIN)|stable|$(CODENAME)|$(SUITE)|main|https://vendor.example.org/deb/\n"
        )
        found = apt_mirror.choose(apt_mirror.parse(text), "trixie")
        assert found == Mirror(
            "https://deb.example.org/debian", "https://sec.example.org/debian-security"
        )

    def test_is_left_open_where_apt_has_none_of_debian(self):
        text = "Ubuntu|noble|noble|noble|main|https://ubuntu.example.org/ubuntu/\n"
        text += "Ubuntu|noble-security|noble|noble-security|main|https://ubuntu.example.org/ubuntu/\n"
        assert apt_mirror.choose(apt_mirror.parse(text), "noble") == Mirror(None, None)
        assert apt_mirror.choose(apt_mirror.parse(""), "noble") == Mirror(None, None)
        assert apt_mirror.choose(apt_mirror.parse("rubbish\n||"), "") == Mirror(None, None)

    @pytest.mark.parametrize("scheme", ["mirror+file:", "mirror+file://"])
    def test_of_a_list_of_mirrors_is_its_first(self, tmp_path, scheme):
        listed = tmp_path / "debian.list"
        listed.write_text(
            "# ours\n\nhttps://first.example.org/debian\tpriority:1\nhttps://second.example.org\n"
        )
        text = f"Debian|trixie|trixie|stable|main|{scheme}{listed}/\n"
        assert apt_mirror.choose(apt_mirror.parse(text), "trixie").archive == "https://first.example.org/debian"
        listed.unlink()
        assert apt_mirror.choose(apt_mirror.parse(text), "trixie").archive is None

    def test_that_only_this_machine_can_use_is_passed_over(self):
        text = "Debian|trixie|trixie|stable|main|cdrom:[Debian]/\n"
        assert apt_mirror.choose(apt_mirror.parse(text), "trixie").archive is None

    def test_is_overridden_by_the_option_and_then_by_the_environment(self, monkeypatch):
        monkeypatch.setattr(apt_mirror, "_indextargets", lambda: self.DEBIAN)
        monkeypatch.setattr(apt_mirror, "_running_release", lambda: "bookworm")
        monkeypatch.setenv("LAB_MIRROR", "https://env.example.org/debian")
        assert apt_mirror.find() == Mirror(
            "https://env.example.org/debian", "https://sec.example.org/debian-security"
        )
        assert apt_mirror.find("http://opt.example.org/debian").archive == "http://opt.example.org/debian"

    @pytest.mark.parametrize(
        "asked", ["deb.example.org", "https://", "two words", "-x", "https://a b/c"]
    )
    def test_that_is_no_address_is_a_usage_error(self, asked):
        with pytest.raises(UsageError, match="is not an address of an archive") as caught:
            apt_mirror.find(asked)
        assert asked in str(caught.value)

    def test_of_a_machine_without_apt(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("LAB_MIRROR", raising=False)
        assert apt_mirror.find() == Mirror(None, None)
