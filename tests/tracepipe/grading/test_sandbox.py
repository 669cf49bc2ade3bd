"""The sandbox holds: what model-written code tries, as root and as an unprivileged user, changes and learns nothing."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil
import pytest

from tests.processes import alive_after
from tracepipe.grading import sandbox
from tracepipe.grading.sandbox import Limits, Result, SandboxMissing, decode, encode, run
from tracepipe.home import CHECKOUT

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap (bwrap) is not installed")

QUICK = Limits(seconds=3, total_seconds=20)

# Each probe prints "escaped ..." if it got what it wanted. It may also fail, be killed, or run out of time.
PROBES = {
    "connects to the internet": "import socket; socket.create_connection(('1.1.1.1', 53), 1); print('escaped')",
    "connects to a port of the host": "import socket; socket.create_connection(('127.0.0.1', PORT), 1); print('escaped')",
    "sees a network device": "import socket; print('escaped' if len(socket.if_nameindex()) > 1 else '')",
    "finds an abstract socket of the host": (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0tracepipe-probe-PORT'); print('escaped')"
    ),
    "reads a file of the host": "print('escaped', open('SECRET').read())",
    "reads the users": "print('escaped', open('/etc/passwd').read())",
    "lists the home folders": "import os; print('escaped', os.listdir('/root') + os.listdir('/home'))",
    "lists this project": "import os; print('escaped', os.listdir('CHECKOUT'))",
    "reads the environment": "import os; print('escaped' if 'PROBE_KEY' in os.environ else '')",
    "reads the environment of process 1": "print('escaped', open('/proc/1/environ').read())",
    "lists processes": "import os; print('escaped', os.listdir('/proc'))",
    "signals processes outside": (
        "import os\nfor pid in range(2, 70000):\n    try:\n        os.kill(pid, 0)\n        found = pid not in (os.getpid(), os.getppid())\n"
        "        if found: print('escaped', pid)\n    except OSError: pass"
    ),
    "writes to the system": "open('/usr/lib/probe', 'w').write('x'); print('escaped')",
    "writes to the root": "open('/probe', 'w').write('x'); print('escaped')",
    "becomes root": "import os; os.setuid(0); print('escaped')",
    "makes a user namespace": "import ctypes; print('escaped' if ctypes.CDLL(None).unshare(0x10000000) == 0 else '')",
    "mounts": "import ctypes; print('escaped' if ctypes.CDLL(None).mount(b'a', b'/tmp', b'tmpfs', 0, None) == 0 else '')",
    "calls the C library to read": (
        "import ctypes; fd = ctypes.CDLL(None).open(b'SECRET', 0); print('escaped' if fd >= 0 else '')"
    ),
    "raises its own limits": (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY,) * 2); print('escaped')"
    ),
    "loads a kernel module's door": "import ctypes; print('escaped' if ctypes.CDLL(None).syscall(246, 0, 0, 0, 0) == 0 else '')",
    "reads a disk": "import glob; print('escaped' if glob.glob('/dev/sd*') + glob.glob('/dev/vd*') + glob.glob('/dev/nvme*') else '')",
    "reads open files it inherits": (
        "import os\nfor fd in range(3, 1024):\n    try:\n        os.fstat(fd); print('escaped', fd)\n    except OSError: pass"
    ),
    "takes a terminal": "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('escaped')",
    "finds expected outputs": (
        "import gc\nfor found in gc.get_objects():\n    if isinstance(found, (str, dict, list)) and 'expected-output-4711' in str(found)"
        " and 'gc.get' not in str(found): print('escaped')"
    ),
}  # fmt: skip

BOMBS = {
    "forks without end": "import os\nwhile True: os.fork()",
    "starts threads without end": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()"
    ),
    "eats memory": "held = []\nwhile True: held.append(bytearray(50_000_000))",
    "fills the disk": "import itertools\nfor n in itertools.count(): open(f'/tmp/{n}', 'wb').write(bytes(10_000_000))",
    "fills shared memory": "for n in range(10_000): open(f'/dev/shm/{n}', 'wb').write(bytes(10_000_000))",
    "floods its output": "import sys\nwhile True: sys.stdout.write('x' * 1_000_000)",
    "never ends": "while True: pass",
    "ignores signals": (
        "import signal, time\nfor n in range(1, 64):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: time.sleep(1)"
    ),
    "kills its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL); os.kill(1, signal.SIGKILL)",
    "nests too deep": "def f(): return f()\nimport sys; sys.setrecursionlimit(10**9); f()",
}  # fmt: skip


@pytest.fixture(params=["as it is", "unprivileged"])
def user(request: pytest.FixtureRequest) -> str:
    """Who starts the sandbox: this user, and, where that is root, an ordinary one as well."""
    if request.param == "unprivileged" and os.geteuid() != 0:
        pytest.skip("the tests run as an unprivileged user already")
    return str(request.param)


def outcome(code: str, user: str, inputs: tuple[str, ...] = ("",), limits: Limits = QUICK) -> list[Result]:
    """Run code in the sandbox, in a process of another user where that is asked for."""
    if user == "as it is":
        return list(run(code, inputs, limits=limits))
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from tracepipe.grading.sandbox import Limits, run\n"
        "code, inputs, limits = json.load(sys.stdin)\n"
        "print(json.dumps([[r.status, r.value] for r in run(code, inputs, limits=Limits(**limits))]))"
    )
    given = json.dumps([code, list(inputs), {"seconds": limits.seconds, "total_seconds": limits.total_seconds}])
    folder = readable_copy()
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, str(folder)],
        input=given,
        capture_output=True,
        text=True,
        user=1234,
        group=1234,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PROBE_KEY": "secret"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Result(*one) for one in json.loads(done.stdout)]


@cache
def readable_copy() -> Path:
    """The grading package where an ordinary user may read it: a checkout may lie in a private folder."""
    grading = open_folder() / "tracepipe" / "grading"
    grading.mkdir(parents=True)
    (grading.parent / "__init__.py").touch()
    (grading / "__init__.py").touch()
    for name in ("sandbox.py", "inside.py"):
        shutil.copy(CHECKOUT / "tracepipe" / "grading" / name, grading / name)
    for path in open_folder().rglob("*"):
        path.chmod(0o755)
    return open_folder()


@cache
def open_folder() -> Path:
    """A folder that every user of this machine may read; it goes when the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="tracepipe-test-", dir="/tmp"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def secret() -> Path:
    path = open_folder() / "secret"
    path.write_text("the secret")
    path.chmod(0o644)
    return path


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A port of this host that listens, and an abstract socket named for it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        number = server.getsockname()[1]
        abstract.bind(f"\0tracepipe-probe-{number}")
        abstract.listen()
        yield number


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_gets_nothing(probe: str, user: str, secret: Path, port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PROBE_KEY", "secret")
    code = PROBES[probe].replace("PORT", str(port)).replace("SECRET", str(secret)).replace("CHECKOUT", str(CHECKOUT))
    (result,) = outcome(code, user)
    assert "escaped" not in str(result.value), result
    assert "the secret" not in str(result.value)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_in_time_and_leaves_nothing_behind(bomb: str, user: str):
    before, started = processes(), time.monotonic()
    (result,) = outcome(BOMBS[bomb], user)
    assert result.status in ("error", "timeout")
    assert time.monotonic() - started < 30
    deadline = time.monotonic() + 5
    while processes() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes() - before == set()
    assert list(run("print('still here')", [""], limits=QUICK)) == [Result("ok", "still here\n")]


def processes() -> set[int]:
    """Sandboxes below this process, and those that have lost theirs (seen at once: they end while one looks)."""
    seen = {one.pid: one.info for one in psutil.process_iter(["name", "ppid"])}
    family = {os.getpid()}
    while more := {pid for pid, one in seen.items() if one["ppid"] in family} - family:
        family |= more
    return {pid for pid, one in seen.items() if one["name"] == "bwrap" and (pid in family or one["ppid"] == 1)}


def test_more_memory_than_is_allowed_is_not_to_be_had():
    code = "import sys\nheld = bytearray(int(sys.stdin.read()))\nprint(len(held))"
    assert [one.status for one in run(code, [str(2**28), str(2**31)], limits=QUICK)] == ["ok", "error"]


def test_an_orphan_ends_with_the_sandbox(user: str):
    name = f"sleep{os.getpid()}"
    code = textwrap.dedent(f"""
        import ctypes, os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                ctypes.CDLL(None).prctl(15, b"{name}", 0, 0, 0)
                time.sleep(600)
            os._exit(0)
        time.sleep(0.2)
        print("done")
    """)
    (result,) = outcome(code, user)
    assert result == Result("ok", "done\n")
    left = [one for one in psutil.process_iter(["name"]) if one.info["name"] == name]
    assert alive_after(left, 5) == []


def test_code_that_reads_and_prints_is_run_once_per_input():
    assert list(run("print(int(input()) * 2)", ["3", "4\n", "x"])) == [
        Result("ok", "6\n"),
        Result("ok", "8\n"),
        Result("error"),
    ]


@pytest.mark.parametrize("end", ["exit()", "import sys; sys.exit(0)", "raise SystemExit", "quit(0)"])
def test_a_program_may_end_itself(end: str):
    assert list(run(f"print('out')\n{end}\nprint('never')", [""])) == [Result("ok", "out\n")]


def test_a_call_that_hangs_is_the_last_one():
    code = "import time\ndef f(x):\n    if x == 1: time.sleep(9)\n    return (x, [1.5], {'k': {x}})"
    found = list(run(code, [[0], [1], [2]], "f", Limits(seconds=1)))
    assert [result.status for result in found] == ["ok", "timeout", "error"]
    assert found[0].value == (0, [1.5], {"k": {0}})


def test_an_object_that_equals_everything_is_no_value():
    code = "class Any:\n    def __eq__(self, other): return True\n    def __repr__(self): return '1'\ndef f(x): return Any()"
    assert list(run(code, [[1]], "f")) == [Result("error")]
    sly = "class Sly(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef f(x): return Sly(7)"
    (result,) = run(sly, [[1]], "f")
    assert (result.status, type(result.value), result.value == 1) == ("ok", int, False)


def test_values_of_builtin_types_survive_the_way():
    value = [1, 2.5, "a", None, True, (1, (2,)), {3, 4}, {"k": [1], 2: (3,)}, 1 + 2j, float("inf")]
    assert decode(encode(value)) == value
    with pytest.raises(TypeError, match="Path is no builtin value"):
        encode(Path())


def test_without_bubblewrap_code_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    sandbox.require.cache_clear()
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(SandboxMissing, match="apt-get install bubblewrap"):
        list(run("print(1)", [""]))
    sandbox.require.cache_clear()


def test_a_bubblewrap_that_does_not_work_is_refused_too(monkeypatch: pytest.MonkeyPatch):
    sandbox.require.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: "/bin/false")
    with pytest.raises(SandboxMissing, match="does not work here: it gave no answer"):
        list(run("print(1)", [""]))
    sandbox.require.cache_clear()


WOULD_ESCAPE = (
    "connects to a port of the host", "finds an abstract socket of the host", "reads a file of the host", "reads the users",
    "lists this project", "reads the environment", "lists processes", "signals processes outside",
    "calls the C library to read", "finds expected outputs",
)  # fmt: skip


@pytest.mark.parametrize("probe", WOULD_ESCAPE)
def test_the_harmless_probes_get_what_they_want_without_a_sandbox(probe: str, secret: Path, port: int):
    code = PROBES[probe].replace("PORT", str(port)).replace("SECRET", str(secret)).replace("CHECKOUT", str(CHECKOUT))
    held = "held = ['expected-output-4711'.upper().lower()]\n" if "expected" in probe else ""
    done = subprocess.run(
        [sys.executable, "-c", held + code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PROBE_KEY": "secret"},
    )
    assert "escaped" in done.stdout
