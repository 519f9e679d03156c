"""Versions of a program: another file, a git revision of the same one, and what is neither."""

import resource
import subprocess
import tempfile
from pathlib import Path

import pytest

from streamfn.errors import ConfigError
from streamfn.replay.diff.code import other_version, split_target, this_version


def git(folder: Path, *words: str) -> str:
    """Run git as somebody."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two versions of a program in a folder of it."""
    root = tmp_path / "repo"
    (root / "apps").mkdir(parents=True)
    git(tmp_path, "init", "-q", str(root))
    for number in (1, 2):
        (root / "apps" / "shop.py").write_text(f"VERSION = {number}\n")
        (root / "apps" / "beside.py").write_text(f"BESIDE = {number}\n")
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", f"version {number}")
    (root / "apps" / "shop.py").write_text("VERSION = 3\n")
    (root / "new.py").write_text("")
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize("against", ["HEAD~1", "git:HEAD~1", "HEAD^"])
def test_revision(repository: Path, against: str) -> None:
    """The whole tree of the revision is there while it is wanted, and the files here stay."""
    with other_version("apps/shop.py:app", against) as version:
        assert version.name == f"apps/shop.py at {against.removeprefix('git:')}"
        place, name = split_target(version.target)
        assert name == "app"
        assert Path(place).read_text() == "VERSION = 1\n"
        assert Path(place).with_name("beside.py").read_text() == "BESIDE = 1\n"
        assert version.folder is not None
        assert Path(version.folder) == Path(place).parents[1]
    assert not Path(place).exists()
    assert (repository / "apps" / "shop.py").read_text() == "VERSION = 3\n"


def test_commit_and_branch(repository: Path) -> None:
    """A commit's name and a branch with a slash are revisions, too."""
    first = git(repository, "rev-parse", "HEAD~1")
    git(repository, "branch", "some/branch")
    for against, text in ((first[:10], "VERSION = 1\n"), ("some/branch", "VERSION = 2\n")):
        with other_version(str(repository / "apps" / "shop.py"), against) as version:
            assert Path(version.target).read_text() == text


def test_another_file(repository: Path) -> None:
    """A file is taken as it is."""
    with other_version("apps/shop.py", "new.py:app") as version:
        assert version == this_version("new.py:app")


@pytest.mark.parametrize(
    ("target", "against", "said"),
    [
        ("apps/shop.py", "HEAD~7", "neither a program nor a revision of shop.py; got no such file"),
        ("apps/shop.py", "--all", "neither a program nor a revision"),
        ("apps/shop.py", "git:", "neither a program nor a revision"),
        ("apps/shop.py", "HEAD:apps", "neither a program nor a revision"),
        ("new.py", "HEAD", "'new.py' is not in revision 'HEAD'; got it was never committed"),
        ("apps/none.py", "HEAD", "'apps/none.py' has no file"),
    ],
)
def test_no_version(repository: Path, target: str, against: str, said: str) -> None:
    """What is neither is refused with what was found and what to give."""
    with pytest.raises(ConfigError, match=said) as raised, other_version(target, against):
        raise AssertionError
    assert "\n" not in str(raised.value)
    assert repository.is_dir()


def test_later_than_the_revision(repository: Path) -> None:
    """A file that was added after the revision: the error says when."""
    git(repository, "add", "new.py")
    git(repository, "commit", "-q", "-m", "new")
    said = r"not in revision 'HEAD~1'; got it came later: \w+ of \d{4}-\d\d-\d\d; name a later"
    with pytest.raises(ConfigError, match=said), other_version("new.py", "HEAD~1"):
        raise AssertionError


def test_not_in_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a repository only files can be compared."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "shop.py").write_text("")
    said = "is no program, and shop.py is in no git repository"
    with (
        pytest.raises(ConfigError, match=said),
        other_version(str(tmp_path / "shop.py"), "HEAD"),
    ):
        raise AssertionError


def test_no_room_for_a_revision(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was to go is told, and nothing of it stays."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (repository / "large").write_bytes(bytes(100_000))
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "large")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with (
            pytest.raises(ConfigError, match=r"unpacked into .*temporary.*; got .*; make room"),
            other_version("apps/shop.py", "HEAD"),
        ):
            pytest.fail("it is not there")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "temporary").iterdir()) == []
