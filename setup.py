"""What pyproject.toml cannot say: a wheel brings the data and the lessons, without outputs."""

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class WithCourse(build_py):
    """Puts data/ and the lessons where camwidgets/course/places.py looks for them."""

    def run(self) -> None:
        """Build; a development install finds the course in its checkout and needs no copy."""
        super().run()
        if self.editable_mode:
            return
        shipped = Path(self.build_lib, "camwidgets", "course", "shipped")
        shutil.rmtree(shipped, ignore_errors=True)
        shutil.copytree(ROOT / "data", shipped / "data")
        (shipped / "lessons").mkdir()
        for lesson in ROOT.glob("lessons/[0-9]*.ipynb"):
            notebook = json.loads(lesson.read_bytes())
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    cell.update(outputs=[], execution_count=None)
            text = json.dumps(notebook, ensure_ascii=False)
            (shipped / "lessons" / lesson.name).write_text(text, encoding="utf-8")


setup(cmdclass={"build_py": WithCourse})
