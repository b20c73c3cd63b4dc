"""Search the texts of regions by words, with FTS5 on SQLite and tsvector on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from unicodedata import category, normalize

from sqlalchemy import Integer, Select, column, text
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from db.models import RegionRow, Status
from db.queries.selectivity import is_common, on_postgresql
from db.queries.values import storable

INDEXED = text("region.indexed IS true")  # as the partial indexes say it
WORD = re.compile(r"[^\s*]+\*?")
PLAIN_WORD = re.compile(r"[a-z0-9]+")
SIGNS = "!\"#$%&''()*+,-./:;<=>?@[]^_`{|}~\\"  # as in the index of migration 0019
TSVECTOR = f"to_tsvector('simple', translate(region.text, '{SIGNS}', '{' ' * 32}'))"
MATCHING_BETWEEN = "SELECT rowid FROM region_text WHERE region_text MATCH :terms AND rowid BETWEEN :first AND :last"


def search_words(words: str) -> list[str]:
    """Return the words of a search in lower case; a word that ends with * is the beginning of one.

    A word is letters, digits and the marks that belong to them: Hindi's vowels, an accent after its letter.
    """
    plain = "".join(
        sign if sign == "*" or sign.isalnum() or category(sign)[0] == "M" else " " for sign in storable(words)
    )
    return [word.lower() for word in WORD.findall(plain) if any(map(str.isalnum, word))]


def search_terms(session: Session, words: str) -> str:
    """Return a search in the database's own syntax, made of letters, digits and our own signs only."""
    postgresql = on_postgresql(session)
    quote, start, either, both = ("'", ":*", " | ", " & ") if postgresql else ('"', " *", " OR ", " AND ")

    def term(word: str) -> str:
        return f"{quote}{word.rstrip('*')}{quote}" + start * word.endswith("*")

    # texts have an accent in its letter or after it, as they came
    spellings = ([term(each) for each in sorted({word, *_spellings(word)})] for word in search_words(words))
    return both.join(f"({either.join(each)})" if len(each) > 1 else each[0] for each in spellings)


def _spellings(word: str) -> tuple[str, str]:
    return normalize("NFC", word), normalize("NFD", word)


def text_clause(session: Session, words: str) -> Any:
    """Return the clause that a region's text has all words."""
    terms = search_terms(session, words)
    if on_postgresql(session):
        return text(f"{TSVECTOR} @@ to_tsquery('simple', :terms)").bindparams(terms=terms)
    matching = "SELECT rowid FROM region_text WHERE region_text MATCH :terms"
    # FTS5 gathers a beginning from all words that have it each time it is asked: ask once, for the list
    if "*" in terms or not is_common(session, _row_ids(matching, terms=terms)):
        return text(f"region.id IN ({matching})").bindparams(terms=terms)
    return text(f"EXISTS ({matching} AND rowid = region.id)").bindparams(terms=terms)


def matching_ids(session: Session, *, dataset_id: int, statuses: Sequence[Status], words: str) -> Select[Any]:
    """Return a query of the ids of regions whose text has all words.

    On SQLite they are of all statuses, and of other data sets that came between the regions of this one.
    """
    if on_postgresql(session):
        clauses = (col(RegionRow.dataset_id) == dataset_id, INDEXED, text_clause(session, words))
        return select_rows(col(RegionRow.id)).where(*clauses)
    first, last = id_range(session, dataset_id=dataset_id, statuses=statuses)
    return _row_ids(MATCHING_BETWEEN, terms=search_terms(session, words), first=first, last=last)


def id_range(session: Session, *, dataset_id: int, statuses: Sequence[Status]) -> tuple[int, int]:
    """Return the first and last id among the regions of a data set with any of the statuses; (1, 0) for none."""
    ends: list[int] = []
    for status in statuses:
        ids = select(RegionRow.id).where(RegionRow.dataset_id == dataset_id, RegionRow.status == status)
        for order in (col(RegionRow.id), col(RegionRow.id).desc()):
            ends += session.exec(ids.order_by(order).limit(1)).all()
    return (min(ends), max(ends)) if ends else (1, 0)


def plain_text_matches(line: str, words: Sequence[str]) -> bool:
    """Return whether an ASCII text has all words, each whole or as a beginning, split as FTS5 splits it."""
    tokens = PLAIN_WORD.findall(line.lower())
    return all(
        any(token.startswith(word[:-1]) if word.endswith("*") else token == word for token in tokens) for word in words
    )


def _row_ids(statement: str, **values: Any) -> Select[Any]:
    """Return an FTS5 statement as a query that others can be built on."""
    found = text(statement).bindparams(**values).columns(column("rowid", Integer)).subquery()
    return select_rows(found.c.rowid)
