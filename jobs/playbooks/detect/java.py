"""Java and its neighbours: Maven and Gradle, by their wrapper where there is one."""

from __future__ import annotations

import re

from jobs.playbooks.base import RepositoryFacts
from jobs.playbooks.detect.base import Step, Toolchain, has

_TEST_PATH = r"(^|/)src/test/(java|kotlin|groovy|scala)/.*\.(java|kt|groovy|scala)$"
_SUREFIRE = ("**/target/surefire-reports/*.xml", "**/target/failsafe-reports/TEST-*.xml")
_GRADLE = ("**/build/test-results/*/*.xml",)
_CLASS = "name=${1##*/}; name=${name%.*}"


def maven(facts: RepositoryFacts) -> Toolchain | None:
    """Maven: compile, then verify (unit and integration tests, of modules that need each other too)."""
    if "pom.xml" not in facts.files and not has(facts, "pom.xml"):
        return None
    mvn, program = ("sh ./mvnw", "java") if has(facts, "mvnw") else ("mvn", "mvn")
    verify, again = f"{mvn} -B -ntp verify", ""
    if re.search(r"<module>|maven-failsafe-plugin", facts.files.get("pom.xml", "")):
        # A failing test keeps the modules and the integration tests after it from running. The exit code is
        # the first run's: with failures ignored a crashed virtual machine is ignored as well.
        ignoring = f"{mvn} -B -ntp -Dmaven.test.failure.ignore=true verify"
        again = f"{verify}; code=$?; [ $code = 0 ] || {ignoring}; exit $code"
    steps = (
        Step("build", "maven compile", f"{mvn} -B -ntp -q test-compile", program),
        Step("test", "maven verify", verify, program, reported=again, results=_SUREFIRE),
    )
    by_file = f'{_CLASS}; {mvn} -B -ntp test -Dtest="$name" -Dsurefire.failIfNoSpecifiedTests=false'
    return Toolchain("maven", steps, by_file, _TEST_PATH, _SUREFIRE)


def gradle(facts: RepositoryFacts) -> Toolchain | None:
    """Gradle: assemble, then test."""
    if not has(facts, "build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"):
        return None
    tool, program = ("sh ./gradlew", "java") if has(facts, "gradlew") else ("gradle", "gradle")
    steps = (
        Step("build", "gradle assemble", f"{tool} --console=plain assemble", program),
        Step(
            "test",
            "gradle test",
            f"{tool} --console=plain test",
            program,
            reported=f"{tool} --console=plain --continue test",  # a failing project hides no other
            results=_GRADLE,
        ),
    )
    by_file = f'{_CLASS}; {tool} --console=plain test --tests "$name"'
    return Toolchain("gradle", steps, by_file, _TEST_PATH, _GRADLE)
