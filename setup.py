"""Packaging: `pip install .` gives the console script `cereals`."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="cereals-tf",
    version="0.1.0",
    description="Cost-effective region-based active learning for semantic segmentation",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["cereals_tf*", "data_prep*", "trainers*"]),
    package_data={"cereals_tf": ["**/*.html", "**/*.css"]},
    install_requires=[
        "fire>=0.7.1,<0.8",
        "jinja2>=3.1",
        "keras>=3.15,<4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "opencv-python-headless>=4.9",
        "pillow>=10.3",
        "rich>=13",
        "tensorflow>=2.17,<2.22",
        "tensorflow-metadata>=1.21",
        "tqdm>=4.66",
    ],
    extras_require={
        "coco": ["pycocotools>=2.0.8"],
        "test": [
            "cityscapesscripts>=2.2",
            "hypothesis>=6.100",
            "pycocotools>=2.0.8",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.9",
            "shapely>=2.0",
        ],
    },
    entry_points={"console_scripts": ["cereals = cereals_tf.cli:main"]},
)
