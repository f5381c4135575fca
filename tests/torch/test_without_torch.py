"""The house without torch: everything but its own room works, and the room says what to install."""

import subprocess
import sys

import pytest

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_other_rooms_open():
    code = """
import mcstat
for room in mcstat.__all__:
    if room != "torch":
        module = getattr(mcstat, room)
        for name in getattr(module, "__all__", []):
            getattr(module, name)
mcstat.methods()
assert "torch" not in sys.modules
print("opened")
"""
    assert run(code).strip() == "opened"


@pytest.mark.parametrize("statement", ["mcstat.torch", "import mcstat.torch.diffusion"])
def test_the_error_names_the_extra(statement):
    code = f"""
import mcstat
from mcstat.core.errors import MissingExtraError
try:
    {statement}
except MissingExtraError as error:
    print(error)
"""
    assert "python -m pip install 'mcstat[torch]'" in run(code)


def test_the_house_does_not_import_torch_by_itself():
    code = "import sys, mcstat; mcstat.importance.psis; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
