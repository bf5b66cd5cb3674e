"""What is said about a text that must be refused."""

from schemas.documents import DocumentError, check_document, read_document


def errors_of(text: str, name: str | None = None, source: str = "file.yaml") -> str:
    """What is said when a text is refused as a document, or by the schema `name`; fails when it is accepted."""
    try:
        document = read_document(text, source)
        if name:
            check_document(document, name)
    except DocumentError as error:
        return str(error)
    raise AssertionError("the text was accepted")
