"""What is built from this repository, installed beside a project whose folders have our names.

Slow, as environments are made: see make test-packaging.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import cereals_tf

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "cereals_tf": "cereals_tf",
    "data_prep": "cereals_tf/data_prep",
    "trainers": "cereals_tf/trainers",
}
"""The repository's folders of code, and where they are installed."""
BEAM = "--runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"
NET = """
import keras


def build(channels):
    return keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(channels, 8, 8)])
"""
IN_PROCESSES = """
from cereals_tf import cli
from cereals_tf.data_prep import prepare

prepare.BYTES_WORTH_PROCESSES = prepare.BYTES_WORTH_TWO_PROCESSES = 1
line = "prepare streets processes --dataset=cityscapes --workers=2"
raise SystemExit(cli.main(line.split()))
"""


def run(*command, cwd):
    """Run a program that must succeed, nothing of ours on its path but what is installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sources(folder):
    """Return the files that belong to a package, relative to the folder."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.suffix != ".pyc"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository without what was built, downloaded or found out in it."""
    folder = tmp_path_factory.mktemp("packaging") / "copy"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build")
    shutil.copytree(ROOT, folder, ignore=unwanted)
    return folder


@pytest.fixture(scope="module")
def built(copy):
    """The folder with the sdist, and the wheel that is built from it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", copy.parent / "dist", cwd=copy)
    return copy.parent / "dist"


@pytest.fixture(scope="module", params=["wheel", "editable"])
def environment(request, copy, built):
    """The bin folder of an environment: this one's packages, and CEREALS as a user installs it."""
    folder = copy.parent / request.param
    venv.create(folder)
    (here,) = folder.glob("lib/python*/site-packages")
    (here / "shared.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    what = ["--editable", copy] if request.param == "editable" else built.glob("*.whl")
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    run(folder / "bin/python", "-m", "pip", "install", *offline, *what, cwd=folder)
    return folder / "bin"


@pytest.fixture
def project(tmp_path):
    """A project of the user's own, with folders as ours are named."""
    for name in ("trainers", "data_prep"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "trainers" / "net.py").write_text(NET)
    return tmp_path


def test_the_wheel_has_one_package_and_all_that_belongs_to_it(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {name for name in names if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in code} == {"cereals_tf"}
    assert code == {
        f"{installed}/{name}"
        for folder, installed in FOLDERS.items()
        for name in sources(ROOT / folder)
    }
    assert {"cereals_tf/py.typed", "cereals_tf/report/templates/page.html"} < code
    assert wheel.name.split("-")[1] == cereals_tf.__version__


def test_the_sdist_has_all_that_the_wheel_is_built_from(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    for folder in (*FOLDERS, "docs", "examples", "tests"):
        assert {f"{folder}/{name}" for name in sources(ROOT / folder)} <= names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("build/")]


def test_the_description_has_no_links_into_the_repository(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        description = opened.read(name).decode()
    assert "docs/annotate.md is the whole way" in description
    assert not re.findall(r"\]\((?!https?:)[^)]*\)", description)


def test_it_works_beside_folders_of_the_same_names(environment, project):
    python, cereals = environment / "python", environment / "cereals"
    where = run(python, "-c", "import cereals_tf; print(cereals_tf.__version__)", cwd=project)
    assert where.strip() == cereals_tf.__version__
    names = "cereals_tf.campaign.run, cereals_tf.trainers.inputs, trainers.net, data_prep"
    run(python, "-c", f"import {names}", cwd=project)

    sizes = ("--train_images=4", "--val_images=2", "--height=64", "--width=96")
    run(cereals, "toy", "streets", *sizes, cwd=project)
    prepare = (cereals, "prepare", "streets")
    run(*prepare, "data", "--dataset=cityscapes", cwd=project)
    run(
        *prepare,
        "beam",
        "--dataset=cityscapes",
        "--runner=beam",
        f"--beam_options={BEAM}",
        cwd=project,
    )
    run(python, "-c", IN_PROCESSES, cwd=project)
    expected = {name: (project / "data" / name).read_bytes() for name in sources(project / "data")}
    for other in ("beam", "processes"):
        assert {n: (project / other / n).read_bytes() for n in sources(project / other)} == expected

    models = ("--model=trainers.net:build", "--cost_model=trainers.net:build", "--epochs=1")
    run(cereals, "start", "campaign", "--data=data", "--region=16", *models, cwd=project)
    run(cereals, "run", "campaign", "--rounds=2", cwd=project)
    run(cereals, "report", "campaign", cwd=project)
    assert (project / "campaign" / "report" / "index.html").exists()


def test_the_tests_run_from_a_copy_of_the_repository(environment, copy):
    if environment.parent.name == "wheel":
        pytest.skip("with the wheel, the repository's folder goes before what is installed")
    assert "passed" in run(
        environment / "python", "-m", "pytest", "tests/test_architecture.py", cwd=copy
    )
