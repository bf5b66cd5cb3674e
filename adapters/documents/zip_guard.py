"""Before an Excel file is opened: what it may weigh and hold. An upload is somebody else's file.

An .xlsx is a zip of XML. Dangers are a small file that unpacks to gigabytes, document types with entities (which read
local files or grow without end), macros, and links to other workbooks. Sizes are those of the zip's directory, which
cannot be exceeded: reading a member stops there.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Final

LARGEST_FILE: Final = 10 * 1024 * 1024
LARGEST_PART: Final = 48 * 1024 * 1024
LARGEST_WHOLE: Final = 96 * 1024 * 1024
MOST_PARTS: Final = 300
MOST_RATIO: Final = 150
"""An honest sheet shrinks to a tenth, a very repetitive one to a sixtieth."""
_FREE_OF_RATIO: Final = 1024 * 1024
_OLD_EXCEL: Final = bytes.fromhex("d0cf11e0a1b11ae1")
_MARKUP: Final = (b"<!DOCTYPE", b"<!ENTITY", b"<!doctype", b"<!entity")
_CHUNK: Final = 1024 * 1024


class UnsafeFileError(Exception):
    """A file that is not opened; the reason in both languages."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(f"{zh} {en}")
        self.zh = zh
        self.en = en


def must_be_safe(data: bytes) -> None:
    """Raises UnsafeFileError for a file that is no .xlsx, is too large unpacked, or holds what a list of tenants needs
    not."""
    if len(data) > LARGEST_FILE:
        most = LARGEST_FILE // 2**20
        raise UnsafeFileError(f"文件超过 {most} MB。", f"The file is larger than {most} MB.")
    if data.startswith(_OLD_EXCEL):
        raise UnsafeFileError(
            "这是旧版 .xls 或带密码的文件，请另存为不带密码的 .xlsx。",
            "This is an old .xls or a file with a password; save it as .xlsx without one.",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            _check(parts)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError, ValueError, zlib.error) as error:
        raise UnsafeFileError(
            f"不是有效的 .xlsx 文件 ({error})。", f"This is no readable .xlsx file ({error})."
        ) from None


def _check(parts: zipfile.ZipFile) -> None:
    members = parts.infolist()
    names = [member.filename for member in members]
    if len(members) > MOST_PARTS or len(set(names)) != len(names):
        raise UnsafeFileError("文件内部结构异常（部件过多或重复）。", "The file has too many parts, or one part twice.")
    if sum(member.file_size for member in members) > LARGEST_WHOLE:
        raise UnsafeFileError(
            f"解压后超过 {LARGEST_WHOLE // 2**20} MB。", f"Unpacked it is larger than {LARGEST_WHOLE // 2**20} MB."
        )
    for member in members:
        _check_member(member)
        _check_name(member.filename.lower())
        if member.filename.lower().endswith((".xml", ".rels", ".vml")):
            _check_markup(parts, member)


def _check_member(member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 1:
        raise UnsafeFileError("文件已加密。", "The file is encrypted.")
    ratio = member.file_size > _FREE_OF_RATIO and member.file_size > MOST_RATIO * max(member.compress_size, 1)
    if member.file_size > LARGEST_PART or ratio:
        raise UnsafeFileError(
            f"部件 {member.filename} 解压后过大。", f"Part {member.filename} is far too large unpacked."
        )


def _check_name(name: str) -> None:
    if "vbaproject" in name or (name.endswith(".bin") and "vba" in name):
        raise UnsafeFileError("文件含宏，请另存为不含宏的 .xlsx。", "The file holds macros; save it as .xlsx.")
    if "externallinks/" in name:
        raise UnsafeFileError(
            "文件链接了其他工作簿，请先“断开链接”。", "The file links to other workbooks; break the links first."
        )


def _check_markup(parts: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """No document types: they have no place in a workbook. Only UTF-8, in which they can be found."""
    with parts.open(member) as stream:
        tail = b""
        while chunk := stream.read(_CHUNK):
            window = tail + chunk
            if b"\0" in window:
                raise UnsafeFileError(
                    f"部件 {member.filename} 不是 UTF-8 编码。", f"Part {member.filename} is not UTF-8."
                )
            if any(word in window for word in _MARKUP):
                raise UnsafeFileError(
                    f"部件 {member.filename} 含文档类型声明。", f"Part {member.filename} declares a document type."
                )
            tail = window[-16:]
