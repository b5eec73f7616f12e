"""One word for what is wrong with a thing at fault, for programs; its message is for people."""

from enum import StrEnum


class Code(StrEnum):
    """`errors[].code` of a problem. Words are added, none ever changes its meaning."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    REPEATED = "repeated"
    EXISTS = "exists"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    WRONG_TYPE = "wrong_type"
    UNREADABLE = "unreadable"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"
    INVALID = "invalid"


MEANINGS: dict[Code, str] = {
    Code.MISSING: "It is needed and is not there, or is empty.",
    Code.UNKNOWN: "There is no such field, class, value or version.",
    Code.REPEATED: "It comes more than once.",
    Code.EXISTS: "It is there, known or used already.",
    Code.TOO_LARGE: "More bytes, characters, entries, or a higher number, than may be.",
    Code.TOO_SMALL: "Fewer characters or entries, or a lower number, than may be.",
    Code.WRONG_TYPE: "Another type than the field has: a text where a number belongs.",
    Code.UNREADABLE: "It cannot be parsed or decoded at all.",
    Code.FORBIDDEN: "It could be read and may not be.",
    Code.UNAVAILABLE: "A part that the service stands on does not answer.",
    Code.INVALID: "Anything else; the message says what.",
}

_ENDINGS = {
    "missing": Code.MISSING,
    "extra_forbidden": Code.UNKNOWN,
    "literal_error": Code.UNKNOWN,
    "enum": Code.UNKNOWN,
    "json_invalid": Code.UNREADABLE,
    "too_long": Code.TOO_LARGE,
    "too_short": Code.TOO_SMALL,
    "less_than": Code.TOO_LARGE,
    "less_than_equal": Code.TOO_LARGE,
    "greater_than": Code.TOO_SMALL,
    "greater_than_equal": Code.TOO_SMALL,
    "_type": Code.WRONG_TYPE,
    "_parsing": Code.WRONG_TYPE,
}


def code_of(pydantic_type: str) -> Code:
    """Return the word for what pydantic calls an error, `string_too_long` for instance."""
    for ending, code in _ENDINGS.items():
        if pydantic_type.endswith(ending):
            return code
    return Code.INVALID
