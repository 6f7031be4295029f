#!/usr/bin/env python3
"""Writes kjv.txt from Debian's packages of the King James Bible (see README.md).

    apt-get download bible-kjv bible-kjv-text
    for package in bible-kjv*.deb; do dpkg -x $package unpacked; done
    cd unpacked/usr/lib && ../bin/bible -f gen1:1-rev22:21 | python3 make_kjv.py > kjv.txt
"""
import re
import sys

BOOKS = """Genesis,Exodus,Leviticus,Numbers,Deuteronomy,Joshua,Judges,Ruth,1 Samuel,2 Samuel,1 Kings,
2 Kings,1 Chronicles,2 Chronicles,Ezra,Nehemiah,Esther,Job,Psalms,Proverbs,Ecclesiastes,
Song of Solomon,Isaiah,Jeremiah,Lamentations,Ezekiel,Daniel,Hosea,Joel,Amos,Obadiah,Jonah,Micah,
Nahum,Habakkuk,Zephaniah,Haggai,Zechariah,Malachi,Matthew,Mark,Luke,John,Acts,Romans,1 Corinthians,
2 Corinthians,Galatians,Ephesians,Philippians,Colossians,1 Thessalonians,2 Thessalonians,1 Timothy,
2 Timothy,Titus,Philemon,Hebrews,James,1 Peter,2 Peter,1 John,2 John,3 John,Jude,Revelation"""
BOOKS = [name.strip() for name in BOOKS.replace("\n", "").split(",")]

short_names, chapter = [], None
for line in sys.stdin:
    match = re.fullmatch(r"(\d?[A-Za-z]+)(\d+):(\d+) (.+)\n", line)
    if match is None:  # the banner and the prompt of an interactive run
        continue
    short_name, number, verse, text = match.groups()
    if short_name not in short_names:
        short_names.append(short_name)
    if (short_name, number) != chapter:
        if chapter is not None:
            print()
        print(BOOKS[len(short_names) - 1], number)
        chapter = (short_name, number)
    print(verse, text)
assert len(short_names) == len(BOOKS), short_names
