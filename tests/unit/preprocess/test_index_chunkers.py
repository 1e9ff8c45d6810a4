"""Six ways to cut a document, each on text as it is written."""

import ast
import re
import sysconfig
import tarfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from llmops_preprocess.chunking.chunk import Cutter, chunk_rows
from llmops_preprocess.chunking.cutters import Chunker, cutter
from llmops_shared.rows import TextRow


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def word_spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\s*\S+", text)]


def cut_by(chunker: Chunker, overlap: int = 0) -> Cutter:
    return cutter(chunker, word_spans, overlap, overlap)


def chunks(text: str, source: str, max_tokens: int, chunker: Chunker, overlap: int = 0, title: str = "") -> list[str]:
    row = TextRow(id="row", text=textwrap.dedent(text).strip("\n"), source=source, metadata={"title": title} if title else {}, licence="")
    found = chunk_rows([row], count_words, max_tokens, cut_by(chunker, overlap))
    assert all(chunk.num_tokens == len(chunk.text.split()) <= max_tokens for chunk in found)
    return [chunk.text for chunk in found]


def test_sentences_go_on_over_paragraphs_and_repeat_the_last() -> None:
    text = "One two three. Four five.\n\nSix seven. Eight nine."

    assert chunks(text, "a.txt", 8, "sentences") == ["One two three. Four five.\n\nSix seven.", "Eight nine."]
    assert chunks(text, "a.txt", 8, "sentences", overlap=1) == ["One two three. Four five.\n\nSix seven.", "Six seven. Eight nine."]


def test_tokens_are_cut_by_number_and_overlap() -> None:
    text = " ".join(str(number) for number in range(10))

    assert chunks(text, "a.txt", 4, "tokens") == ["0 1 2 3", "4 5 6 7", "8 9"]
    assert chunks(text, "a.txt", 4, "tokens", overlap=1) == ["0 1 2 3", "3 4 5 6", "6 7 8 9"]
    assert chunks(text, "a.txt", 4, "tokens", title="T") == ["T\n0 1 2", "T\n3 4 5", "T\n6 7 8", "T\n9"]


def test_a_letter_of_several_tokens_is_never_split() -> None:
    def byte_spans(text: str) -> list[tuple[int, int]]:
        return [(place, place + 1) for place, letter in enumerate(text) for _ in letter.encode()]

    def count_bytes(texts: Sequence[str]) -> list[int]:
        return [len(text.encode()) for text in texts]

    row = TextRow(id="row", text="日本語" * 20, source="a.txt", metadata={}, licence="")

    found = chunk_rows([row], count_bytes, 32, cutter("tokens", byte_spans, 0, 0))

    assert "".join(chunk.text for chunk in found) == "日本語" * 20
    assert max(chunk.num_tokens for chunk in found) <= 32


MARKDOWN = """
    Before it all.

    # Book

    ## Ownership ##

    Each value has an owner.

    ```rust
    # not a heading

    let s = String::from("hello");
    ```

    ### Rules

    There are three.

    ## Empty

    ## Borrowing
    A reference borrows.
    """


def test_a_section_opens_with_the_way_to_it() -> None:
    assert chunks(MARKDOWN, "book.md", 40, "headings", title="The Book") == [
        "The Book\nBefore it all.",
        'Book > Ownership\nEach value has an owner.\n\n```rust\n# not a heading\n\nlet s = String::from("hello");\n```',
        "Book > Ownership > Rules\nThere are three.",
        "Book > Borrowing\nA reference borrows.",
    ]


def test_underlined_headings_take_their_level_from_their_sign() -> None:
    text = """
    =====
    Title
    =====

    Abstract
    ========

    What it is.

    Details
    -------

    More of it.

    Abstract Two
    ============

    ====  ====
    a     b
    ====  ====
    """

    assert chunks(text, "pep.rst", 30, "headings") == [
        "Title > Abstract\nWhat it is.",
        "Title > Abstract > Details\nMore of it.",
        "Title > Abstract Two\n====  ====\na     b\n====  ====",
    ]


def test_outer_headings_are_left_out_where_there_is_no_room() -> None:
    text = "# One two three four\n\n## Five six seven\n\n" + " ".join(f"w{number}." for number in range(20))

    found = chunks(text, "a.md", 12, "headings")

    assert all(chunk.startswith("Five six seven\n") for chunk in found)
    assert " ".join(chunk.partition("\n")[2] for chunk in found).split() == [f"w{number}." for number in range(20)]


def test_headings_alone_are_a_chunk() -> None:
    assert chunks("# One\n\n## Two", "a.md", 12, "headings") == ["One > Two"]


PYTHON = '''
    """A module."""
    import os
    import sys

    LIMIT = 3

    # above the function
    @decorated
    def first(a):
        """Says a."""
        return a

    class Shape:
        """A shape."""

        sides = 4

        def area(self):
            return self.width * self.height

        def grow(self, factor):
            """Makes it larger."""
            self.width *= factor
            self.height *= factor

    if __name__ == "__main__":
        first(1)
    '''


def test_python_is_cut_at_functions_and_classes() -> None:
    found = chunks(PYTHON, "s3://bucket/lib/shapes.py", 40, "code")

    assert found == [
        'shapes.py\n"""A module."""\nimport os\nimport sys\n\nLIMIT = 3',
        'shapes.py: first\n# above the function\n@decorated\ndef first(a):\n    """Says a."""\n    return a',
        (
            'shapes.py: Shape\nclass Shape:\n    """A shape."""\n\n    sides = 4\n\n    def area(self):\n        return self.width * self.height\n\n'
            '    def grow(self, factor):\n        """Makes it larger."""\n        self.width *= factor\n        self.height *= factor'
        ),
        'shapes.py\nif __name__ == "__main__":\n    first(1)',
    ]


def test_a_class_that_does_not_fit_gives_its_methods_under_its_name() -> None:
    found = chunks(PYTHON, "shapes.py", 18, "code")

    assert [text.splitlines()[0] for text in found] == [
        "shapes.py", "shapes.py: first", "shapes.py: Shape", "shapes.py: Shape", "shapes.py: Shape.area", "shapes.py: Shape.grow", "shapes.py",
    ]  # fmt: skip
    assert found[2] == 'shapes.py: Shape\nclass Shape:\n    """A shape."""'


def test_python_of_another_time_is_cut_by_its_indentation() -> None:
    found = chunks("print 'hello'\n\ndef f(x):\n    print x\n\ndef g(y):\n    print y, 'and', 'more'\n", "old.py", 8, "code")

    assert found == ["old.py\nprint 'hello'", "old.py: f\ndef f(x):\n    print x", "old.py: g\ndef g(y):\n    print y, 'and', 'more'"]


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("a.js", "import x from 'y';\n\nexport async function load(url) {\n  return `{${url}`; // }\n}\n\nconst twice = (n) => {\n  return 2 * n;\n};\n", ["load", "twice"]),
        ("a.ts", "export interface Shape {\n  sides: number;\n}\n\nexport class Square implements Shape {\n  sides = 4;\n  area(): number { return 1; }\n}\n", ["Shape", "Square"]),
        ("a.go", 'package main\n\nimport (\n\t"fmt"\n)\n\nfunc (s *Server) Start(port int) error {\n\tif port == 0 {\n\t\treturn nil\n\t}\n\treturn fmt.Errorf("{")\n}\n\ntype Server struct {\n\tport int\n}\n', ["Start", "Server"]),
        ("a.rs", "use std::fmt;\n\n/// Says {hello}.\n#[derive(Debug)]\npub struct Point<'a> {\n    name: &'a str,\n}\n\nimpl fmt::Display for Point<'_> {\n    fn fmt(&self) -> i32 { '{' as i32 }\n}\n\npub(crate) fn add(a: i32) -> i32 {\n    a\n}\n", ["Point<", "fmt::Display for Point<", "add"]),
        ("A.java", "package a;\n\n/** Says { things. */\n@Override\npublic final class A extends B {\n  private int x = 1;\n  int twice() { return 2 * x; }\n}\n", ["A"]),
        ("a.c", '#include <stdio.h>\n\nstatic int add(int a, int b)\n{\n  return a + b; /* } */\n}\n\nstruct point {\n  int x;\n};\n\nint main(void) {\n  printf("}");\n}\n', ["add", "point", "main"]),
        ("a.cs", "using System;\n\nnamespace Shop {\n  public class Cart {\n    int Total() { return 0; }\n  }\n}\n", ["Shop"]),
        ("a.rb", "require 'x'\n\nclass Dog\n  def bark\n    puts 'woof'\n  end\nend\n\ndef run\n  Dog.new.bark\nend\n", ["Dog", "run"]),
    ],
)  # fmt: skip
def test_other_languages_are_cut_at_what_they_define(file: str, text: str, names: list[str]) -> None:
    found = chunks(text, file, 40, "code")

    assert [title.partition(": ")[2] for title in (chunk.splitlines()[0] for chunk in found) if ": " in title] == names
    assert "".join("".join(chunk.partition("\n")[2].split()) for chunk in found) == "".join(text.split())


def test_methods_of_a_java_class_that_does_not_fit() -> None:
    methods = "".join(f"  int method{number}(int a) {{\n    return a + {number} * a - {number};\n  }}\n" for number in range(5))

    found = chunks(f"public class Long {{\n{methods}}}\n", "src/Long.java", 16, "code")

    assert [text.splitlines()[0] for text in found[1:]] == [f"Long.java: Long.method{number}" for number in range(5)]


@pytest.mark.parametrize(
    "text", ["{" * 5000, "}" * 5000, "/*" * 5000, '"' * 5001, "'" * 5001, "`" * 5001, "(" * 3000 + ";\n" * 3000, 'r#"' * 3000]
)
def test_code_that_is_none_is_cut_in_time_and_whole(text: str) -> None:
    row = TextRow(id="row", text=text, source="a.rs", metadata={}, licence="")

    found = chunk_rows([row], lambda texts: [len(text) for text in texts], 64, cut_by("code"))

    assert "".join(chunk.text.partition("\n")[2].replace("\n", "") for chunk in found) == text.replace("\n", "")


def test_auto_goes_by_the_name_of_the_file() -> None:
    assert chunks("# One\n\nText here.\n\n# Two\n\nMore text.", "https://host/a.md", 20, "auto") == ["One\nText here.", "Two\nMore text."]
    assert chunks("# One\n\nText here.", "notes.txt", 20, "auto") == chunks("# One\n\nText here.", "notes.txt", 20, "paragraphs")
    assert chunks("def f(): pass", "archive.tar.gz/lib/a.py", 20, "auto") == ["a.py: f\ndef f(): pass"]


def test_real_code_keeps_every_function_whole_that_fits() -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    for name in ("shutil", "argparse", "asyncio/streams"):
        text = (folder / f"{name}.py").read_text()
        row = TextRow(id=name, text=text, source=f"lib/{name}.py", metadata={}, licence="")

        found = [chunk.text for chunk in chunk_rows([row], count_words, 200, cut_by("code"))]

        lines, bodies = text.splitlines(), [chunk.partition("\n")[2] for chunk in found]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.col_offset in (0, 4):
                function = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                if len(function.split()) < 180 and node.col_offset == 0:
                    assert any(function in body for body in bodies), node.name
        squeezed = "".join("".join(bodies).split())
        assert squeezed == "".join(text.split())


def test_real_markup_keeps_every_word_under_its_heading(test_data: Path) -> None:
    for archive, chunker_files in (("text-rust-book/book-md.tar.gz", 20), ("text-peps/peps.tar.gz", 20)):
        with tarfile.open(test_data / archive) as files:
            members = [member for member in files.getmembers() if member.isfile() and member.size > 2000][:chunker_files]
            for member in members:
                content = files.extractfile(member)
                assert content is not None
                text = content.read().decode()
                row = TextRow(id=member.name, text=text, source=member.name, metadata={}, licence="")

                found = [chunk.text for chunk in chunk_rows([row], count_words, 120, cut_by("headings"))]

                words = set(" ".join(found).split())
                lost = [word for word in text.split() if word not in words and re.search(r"\w", word) and len(word) < 100]
                assert len(lost) <= 0.002 * len(text.split()), (member.name, lost[:10])
                assert len(found) > 1
