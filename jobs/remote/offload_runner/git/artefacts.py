"""Files that tools make and can make again: environments, caches and build output.

`written_by_hand` tells the other ignored files of a worktree: they are lost with it.
"""

from __future__ import annotations

import os
import re
import stat
from fnmatch import fnmatchcase
from typing import Iterator

# What builds leave behind. A repository that forgot to ignore it must not make a job look unsaved.
EXCLUDED = """\
node_modules/
.venv/
venv/
*.egg-info/
__pycache__/
*.pyc
.pytest_cache/
.mypy_cache/
.ruff_cache/
.tox/
.nox/
.hypothesis/
.coverage
.coverage.*
coverage/
target/
.gradle/
.next/
.nuxt/
.turbo/
.parcel-cache/
.eslintcache
*.tsbuildinfo
.DS_Store
"""
# Names with other uses too, so they count as made by a tool only where the repository ignores them.
_IGNORED = """\
env/ .direnv/ .eggs/ .pixi/ .pdm-build/ __pypackages__/ site-packages/ bower_components/ jspm_packages/
vendor/ Pods/ .bundle/ .yarn/ .pnp.* .pnpm-store/ .stack-work/ dist-newstyle/ deps/ _build/ .dart_tool/
.pub-cache/ .elixir_ls/ build/ build-*/ cmake-build-*/ builddir/ dist/ dist-*/ out/ bin/ obj/ Debug/
Release/ x64/ x86/ _site/ public/ site/ storybook-static/ .output/ .svelte-kit/ .astro/ .vercel/
.netlify/ .serverless/ .angular/ .expo/ .docusaurus/ .terraform/ .vagrant/ CMakeFiles/ .deps/ .libs/
autom4te.cache/ zig-out/ .zig-cache/ zig-cache/ DerivedData/ .build/ .swiftpm/ .metals/ .bloop/ .bsp/
.vs/ .idea/ .clangd/ .ccls-cache/ bazel-* buck-out/ .pants.d/ generated/ gen/ wheelhouse/ sdist/ htmlcov/
cover/ .nyc_output/ test-results/ playwright-report/ reports/ .benchmarks/ .ipynb_checkpoints/
.scannerwork/ .sass-cache/ *cache/ *_cache/ .cache/ cache/ .cache* *-cache/ tmp/ temp/ .tmp/ log/ logs/
nimcache/ elm-stuff/ .cpcache/ .shadow-cljs/ .lsp/ .calva/ .kotlin/ .cxx/ .externalNativeBuild/ .eunit/
*.py[cod] *$py.class *.class *.jar *.war *.ear *.o *.obj *.lo *.la *.a *.lib *.so *.so.* *.dylib *.dll
*.exe *.pdb *.d *.dSYM/ *.ko *.gch *.pch *.hi *.dyn_hi *.dyn_o *.cm[aiotx] *.cmx[as] *.beam *.rlib
*.rmeta *.wasm *.whl *.egg *.gcda *.gcno *.gcov *.profraw *.profdata *.prof *.lcov coverage.* lcov.info
cover.out coverprofile *.coverprofile junit*.xml test-report* nosetests.xml *.trx *.log *.log.* *.pid
*.pid.lock *.lock *.sock *.tmp *.temp *.bak *.cache .*cache *.sw[a-p] *.un~ *~ .#* *.min.js *.min.css
*.js.map *.css.map *.stackdump *.core vgcore.* package-lock.json npm-shrinkwrap.json pnpm-lock.yaml
bun.lockb Thumbs.db desktop.ini Desktop.ini .stamp *.stamp stamp-h1 .installed .offload-* next-env.d.ts
celerybeat-schedule* MANIFEST pip-log.txt config.log config.status config.cache libtool aclocal.m4
.dirstamp CMakeCache.txt cmake_install.cmake CTestTestfile.cmake compile_commands.json
install_manifest.txt build.ninja .ninja_* .python_history .Rhistory .RData .bash_history .lesshst
.node_repl_history *.tfstate.backup .terraform.lock.hcl .eslintcache .stylelintcache
"""
_NAMES = [*EXCLUDED.split(), *_IGNORED.split()]
_DIRECTORIES = re.compile("|".join(re.escape(n[:-1]).replace(r"\*", ".*") for n in _NAMES if n[-1] == "/"))
_FILES = [name.rstrip("/") for name in _NAMES if name[-1] != "/"]
# In a directory that a tool made: https://bford.info/cachedir/, and environments of Python and of conda.
_MARKS = ("CACHEDIR.TAG", "pyvenv.cfg", "conda-meta")
# ELF, Mach-O (four forms), a Java class or a universal Mach-O, and PE.
_PROGRAMS = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ", b"!<arch>")
# A comment that says it, as setuptools-scm, protoc, Go's and many other generators write it.
_GENERATED = re.compile(
    rb"^[ \t]*(#|//|/?\*|;|--|<!--|\"\"\"|%)\W*((this )?(file|code)( is| was)? (auto\w*[ -])?generated\b"
    rb"|auto\w*[ -]?generated\b|generated (automatically )?by\b|@generated\b)",
    re.I | re.M,
)
_HEAD = 1024
_MOST = 1000


def written_by_hand(tree: str, path: str) -> Iterator[str]:
    """Yield what no tool made of an ignored file or directory of `tree`, as git names it; paths below `tree`.

    A directory with very many files is one path, with a slash at its end.
    """
    full = os.path.join(tree, path)
    if not path.endswith("/"):
        if not _is_made(full, path.split("/")):
            yield path
        return
    if any(_DIRECTORIES.fullmatch(part) for part in path.rstrip("/").split("/")):
        return
    found = []
    for folder, names, files in os.walk(full):
        if any(os.path.lexists(os.path.join(folder, mark)) for mark in _MARKS):
            names[:] = []
            continue
        names[:] = [name for name in names if not _DIRECTORIES.fullmatch(name)]
        for name in [*files, *(name for name in names if os.path.islink(os.path.join(folder, name)))]:
            if not _is_made(os.path.join(folder, name), [name]):
                found.append(os.path.relpath(os.path.join(folder, name), tree))
        if len(found) > _MOST:
            yield path
            return
    yield from found


def _is_made(full: str, parts: "list[str]") -> bool:
    if any(_DIRECTORIES.fullmatch(part) for part in parts[:-1]):
        return True
    if any(fnmatchcase(parts[-1], pattern) for pattern in _FILES):
        return True
    try:
        mode = os.lstat(full).st_mode
        if stat.S_ISLNK(mode):
            return True  # what it leads to stays
        if not stat.S_ISREG(mode):
            return not stat.S_ISDIR(mode)
        with open(full, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return head.startswith(_PROGRAMS) or _GENERATED.search(head) is not None
