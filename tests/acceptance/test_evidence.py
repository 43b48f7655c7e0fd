"""Verdicts on changes to small repositories that are laid out like real ones: each names the right tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.support.corpus import HUNKS, Corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    made = Corpus(tmp_path_factory.mktemp("corpus"))
    yield made
    made.close()


SHOP = """
def price(n):
    return n


def tax(n):
    return n * 2
"""
PROJECT = {
    "pyproject.toml": "[tool.pytest.ini_options]\n[project]\nname = 'shop'\nversion = '1'\n",
    "shop.py": SHOP,
    "tests/test_price.py": """
from shop import price


def test_one():
    assert price(1) == 1


def test_two():
    assert price(2) == 2
    assert price(3) == 3
""",
}
# Three tests fail on the base already.
RED = {
    **PROJECT,
    "tests/test_red.py": """
import pytest


@pytest.mark.parametrize('n', [1, 2, 3])
def test_red(n):
    assert n == 0
""",
}
WRONG = SHOP.replace("return n\n", "return n if n < 2 else 0\n")


# pytest


def test_a_fourth_failure_on_a_red_base_is_named(corpus: Corpus) -> None:
    review = corpus.review(RED, {"shop.py": WRONG})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"tests/test_price.py::test_two"}, review.told
    assert len(review.tests("already_failing")) == 3, review.told
    first = review.assessment["findings"][0]
    assert first["message"] == (
        "tests/test_price.py::test_two passes on the base and fails on the head: assert 0 == 2."
    )
    assert (first["file"], first["line"]) == ("tests/test_price.py", 10)
    assert "test_two passes on the base and fails on the head" in review.text.splitlines()[2], review.told
    assert review.assessment["base"]["chosen_because"] == "the default branch"
    assert "(main), the default branch;" in review.text


def test_a_run_that_would_end_at_its_first_failure_hides_no_other(corpus: Corpus) -> None:
    config = PROJECT["pyproject.toml"].replace("options]\n", "options]\naddopts = '-x'\n")
    first = {"tests/test_a.py": "def test_a():\n    assert 0\n"}
    review = corpus.review({**PROJECT, **first, "pyproject.toml": config}, {"shop.py": WRONG})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"tests/test_price.py::test_two"}, review.told


def test_a_typo_in_the_docs_is_not_blamed_for_a_red_base(corpus: Corpus) -> None:
    review = corpus.review({**RED, "README.md": "teh"}, {"README.md": "the"})
    assert review.verdict == "pass", review.told
    assert len(review.tests("already_failing")) == 3, review.told


def test_a_fix_of_one_of_the_failing_tests(corpus: Corpus) -> None:
    base = {**PROJECT, "shop.py": WRONG, "tests/test_red.py": "def test_red():\n    assert 0\n"}
    review = corpus.review(base, {"shop.py": SHOP})
    assert review.verdict == "pass", review.told
    assert review.tests("fixed") == {"tests/test_price.py::test_two"}, review.told
    assert review.tests("already_failing") == {"tests/test_red.py::test_red"}, review.told


def test_a_module_that_cannot_be_imported_any_more(corpus: Corpus) -> None:
    review = corpus.review(PROJECT, {"shop.py": "def cost(n):\n    return n\n"})
    assert review.verdict == "fail", review.told
    assert "tests/test_price.py cannot be loaded" in review.messages[0], review.told
    assert "ImportError" in review.messages[0], review.told


def test_a_flaky_test_does_not_fail_the_change(corpus: Corpus) -> None:
    flaky = """
import pathlib


def test_flaky():
    # Not in the tree, which is brought back before a test is run again.
    seen = pathlib.Path.home() / "seen"
    first = not seen.exists()
    seen.touch()
    assert not first
"""
    base = {**PROJECT, "tests/test_flaky.py": flaky.replace("assert not first", "assert True")}
    review = corpus.review(base, {"tests/test_flaky.py": flaky, "README.md": "x"})
    assert review.tests("flaky") == {"tests/test_flaky.py::test_flaky"}, review.told
    assert review.verdict != "fail", review.told
    assert any("Flaky" in message for message in review.messages), review.told


def test_a_new_test_that_fails(corpus: Corpus) -> None:
    review = corpus.review(PROJECT, {"tests/test_new.py": "def test_new():\n    assert 1 == 2\n"})
    assert review.verdict == "fail", review.told
    assert review.tests("new_failing") == {"tests/test_new.py::test_new"}, review.told


def test_a_change_with_its_test_is_proven(corpus: Corpus) -> None:
    fixed = SHOP.replace("n * 2", "n * 3")
    test = "from shop import tax\n\n\ndef test_tax():\n    assert tax(1) == 3\n"
    review = corpus.review(PROJECT, {"shop.py": fixed, "tests/test_tax.py": test})
    assert review.verdict == "pass", review.told
    assert review.proof == {"tests/test_tax.py": "proof"}, review.told
    (item,) = review.assessment["proof"]["files"]
    assert item["tests"]["proof"] == ["tests/test_tax.py::test_tax"]
    assert "3 tests ran" in review.assessment["reason"], review.told
    assert review.state("test-base") == "succeeded"


def test_a_test_that_passes_on_the_base_proves_nothing(corpus: Corpus) -> None:
    test = "from shop import tax\n\n\ndef test_tax():\n    assert tax(1) == 2\n"
    review = corpus.review(PROJECT, {"shop.py": SHOP + "\n\nMORE = 1\n", "tests/test_tax.py": test})
    assert review.proof == {"tests/test_tax.py": "proves_nothing"}, review.told
    assert any("No test proves this change" in message for message in review.messages), review.told


def test_source_without_a_test(corpus: Corpus) -> None:
    review = corpus.review(PROJECT, {"shop.py": SHOP.replace("n * 2", "n + n")})
    assert review.verdict == "pass", review.told
    assert any("No test proves this change" in message for message in review.messages), review.told


def test_removed_weakened_and_skipped_tests_are_findings(corpus: Corpus) -> None:
    tests = PROJECT["tests/test_price.py"]
    removed, skipped = tests.replace("test_", "test_r_"), tests.replace("test_", "test_s_")
    head = {
        "tests/test_price.py": tests.replace("    assert price(3) == 3\n", ""),
        "tests/test_removed.py": removed.split("def test_r_two")[0],
        "tests/test_skipped.py": "import pytest\n"
        + skipped.replace("def test_s_two", "@pytest.mark.skip(reason='later')\ndef test_s_two"),
    }
    review = corpus.review(
        {**PROJECT, "tests/test_removed.py": removed, "tests/test_skipped.py": skipped}, head
    )
    assert review.verdict == "needs_work", review.told
    told = [message for message in review.messages if message.startswith("warning: ")]
    for what in (
        "removes a test: test_r_two",
        "takes assertions from tests: test_two (2 to 1)",
        "skips more tests",
    ):
        assert any(what in message for message in told), (what, review.told)


def test_a_revert_takes_its_tests_with_it(corpus: Corpus) -> None:
    """Also when the same files changed in between; not when the code stays by another name."""
    feature = {
        "shop.py": SHOP + "\n\ndef vat(n):\n    return n\n",
        "tests/test_vat.py": "from shop import vat\n\n\ndef test_vat():\n    assert vat(1) == 1\n",
    }
    later = {"shop.py": "# shop\n" + feature["shop.py"]}
    gone = {"tests/test_vat.py": None}
    review = corpus.review(PROJECT, {**gone, "shop.py": "# shop\n" + SHOP}, between=[feature, later])
    assert review.verdict == "pass", review.told
    assert any("takes back commit" in message for message in review.messages), review.told
    renamed = {**gone, "shop.py": later["shop.py"].replace("vat", "levy")}
    review = corpus.review(PROJECT, renamed, between=[feature, later])
    assert review.verdict == "needs_work", review.told


def test_a_test_that_goes_with_its_code(corpus: Corpus) -> None:
    base = {
        **PROJECT,
        "tests/test_tax.py": "from shop import price, tax\n\n\ndef test_tax():\n    assert tax(1) == 2\n\n\n"
        "def test_price():\n    assert price(1) == 1\n",
    }
    head = {
        "shop.py": SHOP.split("\n\ndef tax")[0],
        "tests/test_tax.py": "from shop import price\n\n\ndef test_price():\n    assert price(1) == 1\n",
    }
    review = corpus.review(base, head)
    assert review.verdict == "pass", review.told
    told = "a test together with what it tests (tax): test_tax"
    assert any(told in message for message in review.messages), review.told


def test_a_changed_helper_runs_the_tests_that_use_it(corpus: Corpus) -> None:
    base = {
        **PROJECT,
        "tests/utils.py": "def double(n):\n    return 2 * n\n",
        "tests/test_double.py": "from utils import double\n\n\ndef test_double():\n    "
        "assert double(1) == 2\n",
    }
    review = corpus.review(base, {"tests/utils.py": "def double(n):\n    return n + n\n"})
    assert review.verdict == "pass", review.told
    assert review.proof == {"tests/test_double.py": "proves_nothing"}, review.told


def test_a_changed_conftest_does_not_stop_the_proof(corpus: Corpus) -> None:
    """It imports what the change adds, so no test could be loaded with it on the base."""
    conftest = (
        "import pytest\nfrom shop import vat\n\n\n@pytest.fixture\ndef base_vat():\n    return vat(1)\n"
    )
    head = {
        "shop.py": SHOP.replace("n * 2", "n * 3") + "\n\ndef vat(n):\n    return n\n",
        "conftest.py": conftest,
        "tests/test_tax.py": "from shop import tax\n\n\ndef test_tax():\n    assert tax(1) == 3\n",
        "tests/test_none.py": "from shop import price\n\n\ndef test_none():\n    assert price(1) == 1\n",
    }
    review = corpus.review({**PROJECT, "conftest.py": "import pytest\n"}, head)
    assert review.verdict == "pass", review.told
    assert review.proof == {
        "tests/test_tax.py": "proof",
        "tests/test_none.py": "proves_nothing",
        "tests/test_price.py": "proves_nothing",
    }, review.told


def test_a_changed_data_file_of_tests(corpus: Corpus) -> None:
    base = {
        **PROJECT,
        "tests/data/prices.json": "[1]",
        "tests/test_data.py": "import json, pathlib\n\n\ndef test_data():\n"
        "    path = pathlib.Path(__file__).parent"
        ' / "data/prices.json"\n    assert json.loads(path.read_text()) == [1]\n',
    }
    review = corpus.review(base, {"tests/data/prices.json": "[2]"})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"tests/test_data.py::test_data"}, review.told


def test_a_test_that_the_default_options_leave_out(corpus: Corpus) -> None:
    config = (
        "[tool.pytest.ini_options]\naddopts = \"-m 'not slow'\"\nmarkers = ['slow']\n"
        "[project]\nname = 'shop'\nversion = '1'\n"
    )
    test = "import pytest\nfrom shop import tax\n\n\n@pytest.mark.slow\ndef test_tax():\n"
    test += "    assert tax(1) == 3\n"
    base = {**PROJECT, "pyproject.toml": config}
    review = corpus.review(base, {"shop.py": SHOP.replace("n * 2", "n * 3"), "tests/test_slow.py": test})
    assert review.verdict == "pass", review.told
    assert review.proof == {"tests/test_slow.py": "proof"}, review.told


def test_a_coverage_threshold_is_off_for_single_files(corpus: Corpus) -> None:
    config = (
        "[tool.pytest.ini_options]\naddopts = '--cov=shop --cov-fail-under=90'\n"
        "[project]\nname = 'shop'\nversion = '1'\n"
    )
    # A stand-in for the plugin, which is not in this environment: it fails every run that it judges.
    plugin = """
def pytest_addoption(parser):
    parser.addoption("--cov")
    parser.addoption("--cov-fail-under")
    parser.addoption("--no-cov", action="store_true")


def pytest_sessionfinish(session, exitstatus):
    if not session.config.getoption("--no-cov") and len(session.items) < 2:
        session.exitstatus = 1
"""
    base = {**PROJECT, "pyproject.toml": config, "conftest.py": plugin}
    test = "from shop import tax\n\n\ndef test_tax():\n    assert tax(1) == 3\n"
    review = corpus.review(base, {"shop.py": SHOP.replace("n * 2", "n * 3"), "tests/test_tax.py": test})
    assert review.verdict == "pass", review.told
    assert review.proof == {"tests/test_tax.py": "proof"}, review.told


def test_configuration_that_runs_fewer_tests(corpus: Corpus) -> None:
    config = "[tool.pytest.ini_options]\naddopts = '-k test_one'\n[project]\nname = 'shop'\nversion = '1'\n"
    review = corpus.review(PROJECT, {"pyproject.toml": config, "shop.py": WRONG})
    assert review.verdict != "pass", review.told
    assert review.tests("removed") == {"tests/test_price.py::test_two"}, review.told


# Hostile suites


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (
            "false results",
            "open(os.environ['PYTEST_ADDOPTS'].split('--junitxml=')[1].strip(\"'\"), 'w').write("
            '\'<testsuite><testcase classname="tests.test_price" name="test_one"/></testsuite>\')',
        ),
        ("no results", "os.unlink(os.environ['PYTEST_ADDOPTS'].split('--junitxml=')[1].strip(\"'\"))"),
        (
            "endless results",
            "open(os.environ['PYTEST_ADDOPTS'].split('--junitxml=')[1].strip(\"'\"), 'w').truncate(10 ** 10)",
        ),
    ],
)
def test_a_hostile_suite_cannot_turn_a_failure_into_a_pass(corpus: Corpus, name: str, body: str) -> None:
    conftest = f"import atexit, os\n\n\n@atexit.register\ndef _():\n    {body}\n"
    review = corpus.review(PROJECT, {"conftest.py": conftest, "shop.py": WRONG})
    assert review.verdict == "fail", review.told


def test_a_head_that_forges_the_results_of_the_base(corpus: Corpus) -> None:
    """Its code breaks the base's tree, so that its own failure looks like an old one."""
    conftest = """
import pathlib

for tree in pathlib.Path(__file__).parent.parent.iterdir():
    if tree.name.startswith(pathlib.Path(__file__).parent.name) and (tree / "shop.py").exists():
        (tree / "shop.py").write_text("def price(n):\\n    return 0\\n")
        (tree / "tests/test_price.py").write_text("def test_two():\\n    assert 0\\n")
        (tree / "pytest.ini").write_text("[pytest]\\naddopts = -k nothing\\n")
"""
    # A changed test makes the base's tree exist while the head's tests run.
    added = "def test_added():\n    assert True\n"
    review = corpus.review(PROJECT, {"conftest.py": conftest, "shop.py": WRONG, "tests/test_added.py": added})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"tests/test_price.py::test_two"}, review.told


def test_configuration_that_only_lists_tests(corpus: Corpus) -> None:
    review = corpus.review(PROJECT, {"pytest.ini": "[pytest]\naddopts = --co\n", "shop.py": WRONG})
    assert review.verdict != "pass", review.told


def test_a_suite_that_kills_its_own_runner(corpus: Corpus) -> None:
    test = "import os\n\n\ndef test_a():\n    os.kill(os.getpid(), 9)\n"
    review = corpus.review(PROJECT, {"tests/test_a.py": test})
    assert review.verdict == "fail", review.told


def test_failures_behind_exit_code_zero(corpus: Corpus) -> None:
    config = {"conftest.py": "import atexit, os\natexit.register(os._exit, 0)\n"}
    review = corpus.review(PROJECT, {**config, "shop.py": WRONG})
    assert review.verdict == "fail", review.told
    assert any("exit code 0 although 1 test fails" in message for message in review.messages), review.told


# Other runners


def test_unittest_with_a_package_of_tests(corpus: Corpus) -> None:
    base = {
        "setup.py": "from setuptools import setup\nsetup(name='shop')\n",
        "Makefile": "test:\n\tpython -m unittest\n",
        "shop.py": SHOP,
        "tests/__init__.py": "",
        "tests/test_price.py": "import unittest\nfrom shop import price\n\n\n"
        "class Price(unittest.TestCase):\n"
        "    def test_one(self):\n        self.assertEqual(price(1), 1)\n\n"
        "    def test_two(self):\n        self.assertEqual(price(2), 2)\n",
    }
    review = corpus.review(base, {"shop.py": WRONG})
    assert review.verdict == "fail", review.told
    (name,) = review.tests("broken")
    assert name.endswith("test_two"), review.told
    assert "AssertionError: 0 != 2" in review.messages[0], review.told


NODE = {
    "package.json": json.dumps({"name": "shop", "scripts": {"test": "node --test"}}),
    "index.js": "exports.price = (n) => n;\n",
    "test/price.test.js": """
const { test, describe } = require('node:test');
const assert = require('node:assert');
const { price } = require('..');
describe('price', () => {
  test('one', () => assert.equal(price(1), 1));
  test('two', () => assert.equal(price(2), 2));
});
""",
}
NODE_WRONG = "exports.price = (n) => (n < 2 ? n : 0);\n"


def test_node_names_the_broken_test(corpus: Corpus) -> None:
    review = corpus.review(NODE, {"index.js": NODE_WRONG})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"price > two"}, review.told
    first = review.assessment["findings"][0]
    assert (first["file"], first["line"]) == ("test/price.test.js", 7), review.told


def test_node_proof_by_a_manifest_with_a_byte_order_mark(corpus: Corpus) -> None:
    manifest = "\ufeff" + NODE["package.json"].replace(", ", ",\r\n")
    base = {**NODE, "package.json": manifest}
    test = NODE["test/price.test.js"].replace("price(2), 2", "price(2), 3")
    review = corpus.review(
        base, {"index.js": "exports.price = (n) => (n < 2 ? n : n + 1);\n", "test/price.test.js": test}
    )
    assert review.verdict == "pass", review.told
    assert review.proof == {"test/price.test.js": "proof"}, review.told


def test_a_test_script_that_tests_nothing_does_not_pass(corpus: Corpus) -> None:
    manifest = json.dumps({"name": "shop", "scripts": {"test": "node --version"}})
    review = corpus.review(NODE, {"package.json": manifest, "index.js": NODE_WRONG})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"price > two"}, review.told


def test_what_pretest_builds_is_built_on_both_trees(corpus: Corpus) -> None:
    scripts = {
        "compile": "mkdir -p dist && cp src/a.js dist/a.js",
        "pretest": "npm run compile",
        "test": "node --test test/",
    }
    base = {
        "package.json": json.dumps({"name": "shop", "scripts": scripts}),
        ".gitignore": "dist/\n",
        "src/a.js": "exports.a = 1;\n",
        "test/a.test.js": "const { test } = require('node:test');\nconst assert = require('node:assert');\n"
        "test('a', () => assert.equal(require('../dist/a').a, 1));\n",
    }
    added = "const { test } = require('node:test');\nconst assert = require('node:assert');\n"
    added += "test('b', () => assert.equal(typeof require('../dist/a').a, 'number'));\n"
    review = corpus.review(base, {"test/b.test.js": added})
    assert review.proof == {"test/b.test.js": "proves_nothing"}, review.told
    assert review.verdict == "pass", review.told


MAKE = {
    "Makefile": "test:\n\tsh tests/run.sh\n",
    "tests/run.sh": """
echo 1..2
for n in 1 2; do
  if [ "$(sh price.sh $n)" = $n ]; then echo "ok $n - price $n"; else echo "not ok $n - price $n"; bad=1; fi
done
exit ${bad:-0}
""",
    "price.sh": "echo $1\n",
}


def test_make_with_tap(corpus: Corpus) -> None:
    review = corpus.review(MAKE, {"price.sh": "[ $1 = 2 ] && echo 0 || echo $1\n"})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"price 2"}, review.told


@pytest.mark.parametrize(
    "makefile", ["test:\n\tsh tests/run.sh\n", "test: unit\n\nunit:\n\t$(RUN)\n\nRUN = sh tests/run.sh\n"]
)
def test_a_makefile_that_tests_nothing_does_not_pass(corpus: Corpus, makefile: str) -> None:
    """The base's own rules run on the head as well, and name what the change breaks."""
    head = {"Makefile": makefile.replace("sh tests/run.sh", "true"), "price.sh": "[ $1 = 1 ] && echo 1\n"}
    review = corpus.review({**MAKE, "Makefile": makefile}, head)
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"price 2"}, review.told


@pytest.mark.parametrize("script", ["turbo run test", "nx run-many -t test"], ids=["turbo", "nx"])
def test_a_script_that_runs_the_tests_of_all_packages(corpus: Corpus, script: str) -> None:
    """A stand-in runs the tests as these tools do: in each package, its output after the package's name."""
    program = "for one in packages/*; do (cd $one && npm test) 2>&1 || code=1; done; exit ${code:-0}"
    corpus.program(script.split()[0], program)
    base: dict[str, str] = {"package.json": json.dumps({"scripts": {"test": script}})}
    for name in ("left", "right"):
        base.update({f"packages/{name}/{path}": text for path, text in NODE.items()})
    review = corpus.review(base, {"packages/right/index.js": NODE_WRONG})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"price > two"}, review.told


@pytest.mark.skipif(not shutil.which("cargo"), reason="cargo is not installed")
def test_cargo_names_the_broken_test(corpus: Corpus) -> None:
    base = {
        "Cargo.toml": "[package]\nname = 'shop'\nversion = '0.1.0'\nedition = '2021'\n",
        ".gitignore": "target/\nCargo.lock\n",
        "src/lib.rs": "pub fn price(n: u64) -> u64 { n }\n\n#[cfg(test)]\nmod tests {\n"
        "    #[test]\n    fn one() {\n"
        "        assert_eq!(super::price(1), 1);\n    }\n    #[test]\n    fn two() {\n"
        "        assert_eq!(super::price(2), 2);\n    }\n}\n",
    }
    wrong = base["src/lib.rs"].replace("{ n }", "{ if n < 2 { n } else { 0 } }")
    review = corpus.review(base, {"src/lib.rs": wrong})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"src/lib.rs: tests::two"}, review.told


GO = """
[ "$1" = test ] || exit 0
module=$(sed -n 's/^module //p' go.mod) || exit 1
echo '--- PASS: TestOne (0.00s)'
if grep -q broken price.go; then
  echo '=== RUN   TestTwo'; echo '    price_test.go:9: got 0, want 2'; echo '--- FAIL: TestTwo (0.00s)'
  printf 'FAIL\\nFAIL\\t%s\\t0.002s\\nFAIL\\n' $module; exit 1
fi
printf -- '--- PASS: TestTwo (0.00s)\\nPASS\\nok  \\t%s\\t0.002s\\n' $module
"""


@pytest.mark.parametrize("folder", ["", "shop/"], ids=["one module", "go.work"])
def test_go_by_a_stand_in(corpus: Corpus, folder: str) -> None:
    """Go is not on every machine: a script prints what `go test -v` prints for these sources."""
    corpus.program("go", GO)
    module = {
        "go.mod": "module example.org/shop\n",
        "price.go": "package shop\n",
        "price_test.go": "package shop\n",
    }
    base = {folder + name: text for name, text in module.items()}
    if folder:
        base["go.work"] = "go 1.22\n\nuse (\n\t.\n\t./shop\n)\n"
        base.update({name: text.replace("/shop", "/all") for name, text in module.items()})
    review = corpus.review(base, {f"{folder}price.go": "package shop // broken\n"})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"example.org/shop > TestTwo"}, review.told
    assert "got 0, want 2" in review.messages[0], review.told


MAVEN = """
case " $* " in *" test-compile "*) exit 0 ;; esac
report() {
  mkdir -p $1/target/surefire-reports
  echo "<testsuite failures='$3'><testcase classname='$2' name='works'>$4</testcase></testsuite>" \\
    > $1/target/surefire-reports/TEST-$2.xml
}
failed="<failure message='expected 1 but was 2' type='AssertionError'>at s.Test(Test.java:3)</failure>"
report core s.CoreTest 1 "$failed"
case "$*" in *failure.ignore=true*) ;; *) exit 1 ;; esac
if grep -q broken app/App.java; then report app s.AppTest 1 "$failed"; else report app s.AppTest 0; fi
"""


def test_maven_by_a_stand_in(corpus: Corpus) -> None:
    """The first module fails on the base already, where Maven ends: the second one is tested all the same."""
    corpus.program("mvn", MAVEN)
    base = {"pom.xml": "<project><modules><module>core</module><module>app</module></modules></project>"}
    review = corpus.review(
        {**base, "app/App.java": "class App {}\n"}, {"app/App.java": "class App {} // broken\n"}
    )
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"s.AppTest > works"}, review.told
    assert review.tests("already_failing") == {"s.CoreTest > works"}, review.told


def test_a_target_that_fails_hides_no_other(corpus: Corpus) -> None:
    base = {**MAKE, "Makefile": "test: old tap\nold:\n\tfalse\ntap:\n\tsh tests/run.sh\n"}
    review = corpus.review(base, {"price.sh": "[ $1 = 2 ] && echo 0 || echo $1\n"})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"price 2"}, review.told


def test_reports_that_the_repository_names(corpus: Corpus) -> None:
    config = "hunks = false\n[commands]\ninstall = false\ntest = 'sh t.sh'\nresults = 'out/*.xml'\n"
    script = """
mkdir -p out; grep -q 1 price || { failure='<failure message="no 1"/>'; code=1; }
echo "<testsuite><testcase classname='a' name='one'>$failure</testcase></testsuite>" > out/r.xml
exit ${code:-0}
"""
    base = {".offload/config.toml": config, "t.sh": script, "price": "1\n"}
    review = corpus.review(base, {"price": "2\n"})
    assert review.verdict == "fail", review.told
    assert review.tests("broken") == {"a > one"}, review.told


# Checks


LINTED = {
    **PROJECT,
    "Makefile": "lint:\n\tsh lint.sh\n",
    "package.json": json.dumps({"scripts": {"lint": "sh lint.sh"}}),
    "lint.sh": "grep -n BAD *.py | sed 's/:\\([0-9]*\\):/:\\1:1: E1 /' | grep . && exit 1; exit 0\n",
}


def test_only_new_lint_problems_count(corpus: Corpus) -> None:
    base = {**LINTED, "old.py": "BAD = 1\n"}
    same = corpus.review(base, {"old.py": "# moved\nBAD = 1\n"})
    assert same.verdict == "pass", same.told
    new = corpus.review(base, {"shop.py": SHOP + "BAD = 2\n"})
    assert new.verdict == "needs_work", new.told
    (finding,) = [one for one in new.assessment["findings"] if one["severity"] == "warning"]
    assert (finding["file"], finding["line"]) == ("shop.py", 8), new.told


def test_a_linter_that_is_not_there_is_the_workers_fault(corpus: Corpus) -> None:
    base = {**PROJECT, "package.json": json.dumps({"scripts": {"lint": "no-such-linter ."}})}
    review = corpus.review(base, {"README.md": "x"})
    assert review.verdict == "pass", review.told
    assert any("no-such-linter is not installed" in message for message in review.messages), review.told


# Proof per hunk


def test_a_hunk_that_no_test_covers_is_named(corpus: Corpus) -> None:
    source = SHOP.replace("n * 2", "n * 3").replace("return n\n", "return n + 0\n")
    test = "from shop import tax\n\n\ndef test_tax():\n    assert tax(1) == 3\n"
    review = corpus.review({**PROJECT, **HUNKS}, {"shop.py": source, "tests/test_tax.py": test})
    assert review.verdict == "pass", review.told
    assert any("shop.py 3 can be reverted and every test still passes" in one for one in review.messages), (
        review.told
    )
    assert [hunk["result"] for hunk in review.assessment["hunks"]["hunks"]] == ["uncovered", "covered"], (
        review.told
    )
