"""Pages of a site's rows in the order of their ids."""

from __future__ import annotations


def site_of_pages(engine: str, column: str = "site") -> str:
    """The site's column in a statement `WHERE {it} = ? AND id > ? ORDER BY id LIMIT ?`.

    SQLite would find the site by whichever index begins with it, and sort all rows of the site anew for every page:
    a million rows would be sorted a thousand times. An expression hides the column from it, so it follows the ids.
    PostgreSQL knows how many rows a site has, and chooses by that.
    """
    return f"{column} || ''" if engine == "sqlite" else column
