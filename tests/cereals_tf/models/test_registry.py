import subprocess
import sys


def test_names_and_words_come_without_keras():
    code = (
        "import sys; from cereals_tf.models.registry import BACKBONES; "
        "assert all(entry.help for entry in BACKBONES.values()); "
        "assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
