"""Les paquets de la roue : ceux de ``fabrique/``, trouvés, et les corpus, qui vivent à côté."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["fabrique", "fabrique.*"]), "fabrique.data"],
    package_dir={"fabrique.data": "data"},
)
