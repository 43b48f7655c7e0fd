"""Which assertions of a test count: those that a change leaves able to fail."""

from __future__ import annotations

import pytest

from jobs.remote.offload_runner.steps.sources import weakened

PYTHON_TEST = "def test_a():\n    assert f(1) == 1\n    assert f(2) == 2\n"
LAST = "    assert f(2) == 2\n"
LAST_UNITTEST = "        self.assertEqual(f(2), 2)\n"
UNITTEST = f"class A(TestCase):\n    def test_a(self):\n        self.assertTrue(f())\n{LAST_UNITTEST}"
JEST_TEST = "it('a', () => {\n  expect(f(1)).toBe(1);\n  expect(f(2)).toBe(2);\n});\n"
LAST_JEST = "  expect(f(2)).toBe(2);\n"
NODE_TEST = "test('a', () => {\n  assert.ok(f());\n  assert.equal(f(2), 2);\n});\n"
LAST_NODE = "  assert.equal(f(2), 2);\n"
LAST_GO = "\tif f(2) != 2 {\n\t\tt.Error()\n\t}\n"
GO_TEST = f"func TestA(t *testing.T) {{\n\tif f(1) != 1 {{\n\t\tt.Error()\n\t}}\n{LAST_GO}}}\n"
RUST_TEST = "#[test]\nfn a() {\n    assert!(f());\n    assert_eq!(f(2), 2);\n}\n"
LAST_RUST = "    assert_eq!(f(2), 2);\n"
# The last assertion of a test, and what a change makes of it.
CANNOT_FAIL = [
    (
        "test_a.py",
        PYTHON_TEST,
        LAST,
        [
            "    assert f(2) == 2 or True\n",
            "    assert True\n",
            "    assert f(2) == f(2)\n",
            f"    return\n{LAST}",
            "    assert (\n        f(2) == 2\n        or True\n    )\n",
            "    # assert f(2) == 2\n",
            "    pass  # assert f(2) == 2\n",
            f'    """\n{LAST}    """\n',
            f"    if False:\n    {LAST}",
            f"    try:\n    {LAST}    except Exception:\n        pass\n",
            f"    try:\n    {LAST}    except: pass\n",
            f"    with suppress(AssertionError):\n    {LAST}",
        ],
    ),
    (
        "test_a.py",
        UNITTEST,
        LAST_UNITTEST,
        [
            "        self.assertTrue(True)\n",
            "        self.assertEqual(2, 2)\n",
            f"        try:\n    {LAST_UNITTEST}        except AssertionError:\n            print()\n",
        ],
    ),
    (
        "a.test.js",
        JEST_TEST,
        LAST_JEST,
        [
            "  expect(true).toBe(true);\n",
            "  expect(f(2));\n",
            f"  return;\n{LAST_JEST}",
            f"  /*\n{LAST_JEST}  */\n",
            "  expect(f(2) === 2 || true).toBe(true);\n",
            f"  if (false) {{\n  {LAST_JEST}  }}\n",
            f"  try {{\n  {LAST_JEST}  }} catch (e) {{\n    console.log(e);\n  }}\n",
            "  try { expect(f(2)).toBe(2); } catch {}\n",
        ],
    ),
    (
        "a.test.js",
        NODE_TEST,
        LAST_NODE,
        [
            "  assert.ok(true);\n",
            "  assert(f(2) == 2 || true);\n",
            "  assert.equal(2, 2);\n",
        ],
    ),
    (
        "a_test.go",
        GO_TEST,
        LAST_GO,
        [
            f"\treturn\n{LAST_GO}",
            LAST_GO.replace("!= 2", "!= 2 && false"),
            LAST_GO.replace("Error", "Log"),
        ],
    ),
    (
        "a.rs",
        RUST_TEST,
        LAST_RUST,
        [
            "    assert!(true);\n",
            "    assert!(f(2) == 2 || true);\n",
            f"    return;\n{LAST_RUST}",
        ],
    ),
]


@pytest.mark.parametrize(
    ("path", "old", "last", "new"),
    [(path, old, last, new) for path, old, last, changes in CANNOT_FAIL for new in changes],
)
def test_an_assertion_that_cannot_fail_any_more(path: str, old: str, last: str, new: str) -> None:
    found = weakened([(path, old, old.replace(last, new))])
    assert [(item["kind"], item["tests"][0].rpartition(" (")[2]) for item in found] == [
        ("assertions", "2 to 1)")
    ]


@pytest.mark.parametrize(
    ("path", "old", "last", "new"),
    [
        ("test_a.py", PYTHON_TEST, LAST, f"    if small():\n        return\n{LAST}"),
        ("test_a.py", PYTHON_TEST, LAST, f"    try:\n    {LAST}    except Exception:\n        raise Other\n"),
        ("test_a.py", PYTHON_TEST, LAST, f"    try:\n    {LAST}    except ValueError:\n        pass\n"),
        ("test_a.py", PYTHON_TEST, LAST, "    assert f(2) == 2, 'this or True'\n"),
        ("test_a.py", PYTHON_TEST, LAST, '    x = """\n    a"""\n' + LAST + '    y = """\n    b"""\n'),
        ("a.test.js", JEST_TEST, LAST_JEST, "  expect(f('src/**/*.js', /* all */ 1).x).toBe(2);\n"),
        ("a.test.js", JEST_TEST, LAST_JEST, f"  if (!f) {{\n    return;\n  }}\n{LAST_JEST}"),
    ],
)
def test_an_assertion_that_can_fail_still(path: str, old: str, last: str, new: str) -> None:
    assert weakened([(path, old, old.replace(last, new))]) == []
