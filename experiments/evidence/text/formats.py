"""Files of packages as blocks: headings and paragraphs, each on one line."""

import bz2
import gzip
import html
import json
import re
import struct
import zlib

from lxml import etree
from lxml import html as lxml_html

HEADING, PARAGRAPH = "h", "p"


def unpacked(name, data):
    """The file's name and content without compression."""
    if name.endswith((".gz", ".dz")):
        return name[:-3], gzip.decompress(data)
    if name.endswith(".bz2"):
        return name[:-4], bz2.decompress(data)
    return name, data


def decoded(data, declared=None):
    for encoding in ("utf-8-sig", declared, "cp1252"):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError, TypeError):
            continue
    return data.decode("latin-1")


# Markup. A block ends where an element of BLOCKS begins or ends.

HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "title", "bridgehead"}
BLOCKS = HEADINGS | {
    "p", "div", "section", "article", "li", "ul", "ol", "dl", "dt", "dd", "blockquote", "td", "th", "tr", "table",
    "caption", "center", "hr", "body", "main", "details", "summary", "para", "simpara", "formalpara", "term", "item",
    "listitem", "varlistentry", "itemizedlist", "orderedlist", "variablelist", "note", "tip", "warning", "important",
    "caution", "chapter", "sect1", "sect2", "sect3", "sect4", "page", "info", "desc", "steps", "list", "entry",
}
NOT_PROSE = {
    "script", "style", "nav", "header", "footer", "head", "pre", "form", "select", "button", "svg", "math", "aside",
    "noscript", "template", "textarea", "iframe", "object", "programlisting", "screen", "synopsis", "cmdsynopsis",
    "literallayout", "funcsynopsis", "classsynopsis", "code-block", "legalnotice", "revhistory", "screenshot",
    "bookinfo", "articleinfo", "indexterm", "media", "equation", "informalequation",
}
NOT_PROSE_CLASSES = {
    "toc", "contents", "sphinxsidebar", "related", "navheader", "navfooter", "navigation", "nav", "headerlink",
    "highlight", "footer", "breadcrumbs", "literal-block", "programlisting", "screen", "synopsis", "sig",
    "bibliography", "titlepage", "index", "sidebar", "menu", "refsynopsisdiv", "indextable", "toctree-wrapper",
    "footnote-list", "classsynopsis", "funcsynopsis", "sourceCode", "SCodeFlow", "SIntrapara-code", "SVInsetFlow",
    "navsetleft", "navsetright", "navsettop", "navsetbottom", "tocset", "header", "node", "short-contents",
    "shortcontents",
}
API_CLASSES = {"py", "c", "cpp", "function", "method", "class", "data", "attribute", "module", "exception", "js", "rst"}
MAIN = ("//*[@role='main']", "//main", "//div[@id='content-main' or @id='main-content']", "//article")


def skipped(element):
    tag = element.tag
    if not isinstance(tag, str):
        return True
    tag = tag.rpartition("}")[2]
    if tag in NOT_PROSE:
        return True
    classes = element.get("class", "").split()
    if tag == "dl" and not API_CLASSES.isdisjoint(classes):
        return True
    return not NOT_PROSE_CLASSES.isdisjoint(classes) or element.get("role") == "navigation"


def tree_blocks(root):
    blocks, pieces, kind = [], [], PARAGRAPH

    def close(next_kind):
        nonlocal kind
        line = " ".join("".join(pieces).split())
        pieces.clear()
        if line:
            blocks.append((kind, line))
        kind = next_kind

    stack = [(root, False)]
    while stack:
        element, leaving = stack.pop()
        if leaving:
            if element.tag.rpartition("}")[2] in BLOCKS:
                close(PARAGRAPH)
            if element is not root and element.tail:
                pieces.append(element.tail)
            continue
        if element is not root and skipped(element):
            if isinstance(element.tag, str) and element.tag.rpartition("}")[2] in NOT_PROSE | BLOCKS:
                close(PARAGRAPH)
            if element.tail:
                pieces.append(element.tail)
            continue
        tag = element.tag.rpartition("}")[2]
        if tag in BLOCKS:
            close(HEADING if tag in HEADINGS else PARAGRAPH)
        elif tag == "br":
            pieces.append(" ")
        if element.text:
            pieces.append(element.text)
        stack.append((element, True))
        stack.extend((child, False) for child in reversed(element))
    close(PARAGRAPH)
    return blocks


def html_blocks(data):
    declared = re.search(rb"charset=[\"']?([\w-]+)", data[:2048])
    text = decoded(data, declared and declared.group(1).decode()).replace("\x00", "")
    parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=True)
    try:
        root = lxml_html.document_fromstring(text.encode(), parser=parser)
    except etree.ParserError:  # comments alone
        return []
    for path in MAIN:
        found = root.xpath(path)
        if len(found) == 1:
            return tree_blocks(found[0])
    body = root.find("body")
    return tree_blocks(root if body is None else body)


def xml_blocks(data):
    """DocBook and Mallard. Entities of a DTD that no package ships stand for themselves, by name."""
    text = re.sub(r"<!DOCTYPE[^\[>]*(\[.*?\])?\s*>", "", decoded(data), count=1, flags=re.S)
    text = re.sub(r"<\?xml[^>]*\?>", "", text, count=1)

    def entity(match):
        name = match.group(1)
        if name in ("amp", "lt", "gt", "quot", "apos"):
            return match.group(0)
        return html.entities.html5.get(name + ";", name)

    text = re.sub(r"&([A-Za-z][\w.-]*);", entity, text)
    root = etree.fromstring(text.encode(), etree.XMLParser(recover=True, huge_tree=True, resolve_entities=False))
    return [] if root is None else tree_blocks(root)


# Plain text and what is nearly plain.

def plain_blocks(text, code_indent=None):
    """Paragraphs between empty lines; an item of a list is a paragraph. Lines indented by code_indent are left out."""
    blocks = []
    for chunk in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").expandtabs()):
        lines = [line for line in chunk.split("\n") if line.strip()]
        if not lines:
            continue
        if code_indent is not None and all(line.startswith(" " * code_indent) for line in lines):
            continue
        if len(lines) == 2 and re.fullmatch(r"\s*([=\-*~^.#])\1{2,}\s*", lines[1]):
            blocks.append((HEADING, " ".join(lines[0].split())))
            continue
        current = []
        for line in lines:
            if current and re.match(r"\s*([-*o+•]|\(?\d{1,2}[.)])\s+\S", line):
                blocks.append((PARAGRAPH, " ".join(current)))
                current = []
            current += line.split()
        line = " ".join(current)
        heading = len(lines) == 1 and len(line) < 80 and (
            re.match(r"(\d+\.)+\d*\s+[A-Z]|#+ |Appendix |CHAPTER |Chapter ", line) or line.isupper())
        blocks.append((HEADING if heading else PARAGRAPH, line.lstrip("# ") if heading else line))
    return blocks


def text_blocks(data):
    return plain_blocks(decoded(data))


def markdown_blocks(data):
    text = re.sub(r"^(```|~~~).*?^\1", "", decoded(data), flags=re.S | re.M)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return plain_blocks(re.sub(r"[*_`]{1,3}(\S[^*_`]*)[*_`]{1,3}", r"\1", text), code_indent=4)


RFC_END = re.compile(r"((\d+\.|Appendix \w\.?)\s+)?((Normative |Informative )?References|Authors?'?s?'? Address(es)?|"
                     r"Full Copyright Statement)", re.I)


def rfc_blocks(data):
    """Pages are joined; what begins with the references is left out."""
    lines, after_page = [], False
    for line in decoded(data).replace("\r", "").split("\n"):
        if line.endswith("]") and "[Page " in line:
            after_page = True
            while lines and not lines[-1]:
                lines.pop()
        elif after_page and (not line.strip() or line.startswith(("RFC", "\f", "INTERNET"))):
            continue
        else:
            if after_page:
                lines += ["", "\0" + line.lstrip() if line.startswith(" ") else line]
                after_page = False
            elif len(line) < 60 and len(lines) > 100 and RFC_END.fullmatch(line.strip()):
                break
            else:
                lines.append(line.strip("\f"))
    blocks = []
    for kind, line in plain_blocks("\n".join(lines)):
        if line.startswith("\0"):
            line = line[1:]
            if blocks and kind == PARAGRAPH and line[:1].islower() and blocks[-1][1][-1:] not in ".:;!?":
                blocks[-1] = (blocks[-1][0], f"{blocks[-1][1]} {line}")
                continue
        if "....." not in line and ". . ." not in line:
            blocks.append((kind, line))
    return [(kind, re.sub(r"([a-z])- (?!and |or |to )([a-z])", r"\1-\2", line)) for kind, line in blocks]


def info_blocks(data):
    blocks = []
    for node in decoded(data).split("\x1f")[1:]:
        node = node.partition("\n\n")[2] if node.startswith(("\nFile:", "\n\x0cFile:")) else ""
        node = re.sub(r"\* Menu:.*", "", node, flags=re.S)
        node = re.sub(r"\(\*note ([^:()]*)::?\)|\*[Nn]ote ([^:]*)::?", r"\1\2", node)
        blocks += plain_blocks(node, code_indent=10)
    return blocks


def pod_blocks(data):
    blocks = []
    for chunk in re.split(r"\n\s*\n", decoded(data)):
        if chunk[:1] in (" ", "\t", ""):
            continue
        for _ in range(3):
            chunk = re.sub(r"[BCFISX]<<* ?([^<>]*?) ?>+", r"\1", chunk)
            chunk = re.sub(r"L<(?:([^|<>]*)\|)?([^<>]*)>", lambda m: m.group(1) or m.group(2), chunk)
            chunk = chunk.replace("E<gt>", ">").replace("E<lt>", "<")
        line = " ".join(chunk.split())
        command = re.match(r"=(\w+)\s*(.*)", line)
        if not command:
            blocks.append((PARAGRAPH, line))
        elif command.group(1).startswith("head"):
            blocks.append((HEADING, command.group(2)))
    return blocks


def sisu_blocks(data):
    text = re.sub(r"^(code|table)\{.*?^\}\1", "", decoded(data), flags=re.S | re.M)
    text = re.sub(r"~[{\[].*?[}\]]~", "", text, flags=re.S)
    blocks = []
    for chunk in re.split(r"\n\s*\n", text):
        line = " ".join(chunk.split())
        heading = re.match(r"(:?[A-D1-6])~\S*\s+(.*)", line)
        if heading:
            blocks.append((HEADING, heading.group(2)))
        elif line and not re.match(r"[@%]|<:", line):
            line = re.sub(r"^_[\d*]+!?\s*|\\\\|\{\s*([^}]*?)\s*\}https?://\S*|~#", r"\1", line)
            line = re.sub(r"([*/_!#])\{(.*?)\}\1", r"\2", line)
            blocks.append((PARAGRAPH, line.strip()))
    return blocks


# Dictionaries, games, books in other containers.

def gcide_blocks(data):
    """Webster's of 1913: a definition with its head word; pronunciation and etymology are left out."""
    blocks, word = [], ""
    text = re.sub(r"\[(1913 Webster|PJC|WordNet|Century|AS|Webster 1913)[^\]]*\]([^\n]*)", "\n\n", decoded(data))
    for chunk in re.split(r"\n\s*\n", text):
        head = re.match(r"(\S[^\\\n]*?) \\", chunk)
        if head:
            word = head.group(1)
            chunk = re.sub(r"\[[^\]]*\]", "", chunk[head.end():], flags=re.S)
            parts = re.split(r"\n   (?=[A-Z(1])", chunk, maxsplit=1)
            chunk = parts[1] if len(parts) == 2 else ""
            blocks.append((HEADING, word))
        line = " ".join(re.sub(r"[{}]", "", chunk).split())
        line = re.sub(r"^\([A-Z][\w. &,]*\)\s*|\[(Obs|R|Colloq|Archaic)[^\]]*\]", "", line)
        if line:
            blocks.append((PARAGRAPH, line))
    return blocks


def dictionary_blocks(data):
    """Entries: a head word at the margin, its text indented."""
    blocks = []
    for chunk in re.split(r"\n\s*\n", decoded(data)):
        line = " ".join(re.sub(r"[{}]|<[^<>]*>|\(https?://[^)]*\)|\(\d{4}-\d\d-\d\d\)", "", chunk).split())
        if line:
            blocks.append((PARAGRAPH if chunk[:1] == " " or len(line) > 80 else HEADING, line))
    return blocks


def fortune_blocks(data):
    return [(PARAGRAPH, " ".join(saying.split())) for saying in re.split(r"\n%+\n", decoded(data))]


def quoted_blocks(data):
    """Games: what is written between back quotes, or between double quotes as text to translate."""
    text = decoded(data)
    found = re.findall(r"`([^`]+)`|_\s*\"((?:[^\"\\]|\"\"|\\.)*)\"", text)
    lines = ((back or double.replace('""', '"')) for back, double in found)
    lines = (re.sub(r"\\n|\\\"", lambda m: " " if m.group(0) == "\\n" else '"', line) for line in lines)
    lines = (re.sub(r"</?(b|i|u|big|small|span|bold|italic|ref|header)\b[^<>]*>", "", line) for line in lines)
    return [(PARAGRAPH, " ".join(line.split())) for line in lines if not re.search(r"[<>\[\]$]", line)]


def json_blocks(data):
    """Games: long strings of JSON."""
    blocks = []

    def walk(node):
        if isinstance(node, str):
            line = " ".join(re.sub(r"</?\w+[^<>]*>", "", node).split())
            if len(line) >= 60:
                blocks.append((PARAGRAPH, line))
        elif isinstance(node, list):
            for value in node:
                walk(value)
        elif isinstance(node, dict):
            for key, value in node.items():
                if not key.startswith("//"):
                    walk(value)

    walk(json.loads(decoded(data)))
    return blocks


def strings_blocks(data):
    """FreeOrion's table of strings: a name, then a line or a text between three quotes."""
    text = re.sub(r"\[\[[^\]]*\]\]|</?\w[^<>]*>", "", decoded(data))
    found = re.findall(r"^[A-Z0-9_]+\n(?:'''(.*?)'''|([^\n]+))", text, flags=re.S | re.M)
    parts = (part for long, short in found for part in re.split(r"\n\s*\n", long or short))
    return [(PARAGRAPH, " ".join(part.split())) for part in parts]


def rdata_blocks(data):
    """R's lazy-load file: pieces by zlib behind their sizes; strings in them are lines of books."""
    blocks = []
    while data:
        stream = zlib.decompressobj()
        content, lines, at = stream.decompress(data[4:]), [], 0
        data = stream.unused_data
        while (at := content.find(b"\x00\x04\x00\x09", at)) >= 0:
            size, = struct.unpack(">I", content[at + 4:at + 8])
            lines.append(content[at + 8:at + 8 + size].decode("utf-8", "replace"))
            at += 8 + size
        blocks += plain_blocks("\n".join(lines))
    return blocks


def sword_blocks(data):
    """A module's pieces by zlib, with rests of the writer's buffer between them; markup is left out."""
    blocks = []
    while (at := data.find(b"\x78\x9c")) >= 0:
        stream = zlib.decompressobj()
        text = decoded(stream.decompress(data[at:]))
        data = stream.unused_data
        text = re.sub(r"<(note|title|scripRef)\b.*?</\1>", " ", text, flags=re.S)
        text = re.sub(r"<(/?p|/?div|br|lb|/?lg|chapter|/chapter)\b[^<>]*>|\x00", "\n\n", text)
        blocks += plain_blocks(html.unescape(re.sub(r"<[^<>]*>", "", text)))
    return blocks


FORMATS = {
    "html": html_blocks, "xml": xml_blocks, "text": text_blocks, "markdown": markdown_blocks, "rfc": rfc_blocks,
    "info": info_blocks, "pod": pod_blocks, "sisu": sisu_blocks, "gcide": gcide_blocks,
    "dictionary": dictionary_blocks, "fortune": fortune_blocks, "quoted": quoted_blocks, "json": json_blocks,
    "strings": strings_blocks, "rdata": rdata_blocks,
    "sword": sword_blocks,
}
ENDINGS = [(r"\.x?html?$", "html"), (r"\.(docbook|page)$", "xml"), (r"\.info(-\d+)?$", "info"), (r"\.pod$", "pod"),
           (r"\.(md|mdwn)$", "markdown"), (r"\.txt$", "text")]


def blocks_of(name, data, form):
    """The file's blocks, or none if its name says nothing of its form and form is auto."""
    name, data = unpacked(name, data)
    if form == "auto":
        form = next((form for ending, form in ENDINGS if re.search(ending, name)), None)
    return FORMATS[form](data) if form else []
