"""``python -m support.prose``: the sentences of the pages that are long, and words that deserve a look."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_WORDS = 30
WORTH_A_LOOK = re.compile(r"\b(whoever|whatever|nobody|which is why)\b", re.IGNORECASE)
CODE = re.compile(r"^( *)(```|~~~).*?^\1\2$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
NOT_AN_END = re.compile(r"\b(e\.g|i\.e|etc)\.")


def paragraphs(text):
    """The prose of a page: paragraphs, items of lists, cells of tables; no code, HTML or headings."""
    text = re.sub(r"<!--.*?-->", "", CODE.sub("", text), flags=re.DOTALL)
    for block in re.split(r"\n\s*\n", text):
        if block.lstrip().startswith(("#", "<")):
            continue
        if block.lstrip().startswith("|"):
            for line in block.splitlines():
                yield from (cell.strip() for cell in line.strip().strip("|").split("|"))
        else:
            yield from re.split(r"\n(?=\s*(?:[*-]|\d+\.) )", block)


def sentences(text):
    """Each sentence of a page as a list of words; what is in backticks is one word, and so is a number."""
    for paragraph in paragraphs(text):
        plain = re.sub(r"`[^`]+`", "code", LINK.sub(r"\1", paragraph))
        plain = NOT_AN_END.sub(r"\1", re.sub(r"^\s*(?:[*-]|\d+\.) ", "", plain))
        for sentence in re.split(r"(?<=[.!?])[*_)\"]*\s+", " ".join(plain.split())):
            words = [word for word in sentence.split() if re.search(r"\w", word)]
            if words:
                yield words


def too_long(page):
    text = page.read_text(encoding="utf-8")
    return [" ".join(words) for words in sentences(text) if len(words) > MOST_WORDS]


def worth_a_look(page):
    text = page.read_text(encoding="utf-8")
    return [" ".join(words) for words in sentences(text) if WORTH_A_LOOK.search(" ".join(words))]


if __name__ == "__main__":
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for kind, found in (("long", too_long(page)), ("look", worth_a_look(page))):
            for sentence in found:
                print(f"{page.relative_to(ROOT)}: {kind}: {sentence}")
