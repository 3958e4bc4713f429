"""What people call the training, validation and test set: one table, for folders and for a table's split column."""

from __future__ import annotations

import re
import unicodedata

TRAIN, VAL, TEST = "train", "val", "test"
_WORDS = {
    TRAIN: (
        *("train", "training", "trn", "learn", "learning", "trainval"),
        *("entrenamiento", "treino", "treinamento", "entrainement", "apprentissage", "addestramento"),
        *("lernen", "训练", "訓練", "学習"),
    ),
    VAL: (
        *("val", "valid", "validation", "validating", "validate", "dev", "development", "eval", "evaluation"),
        *("validacion", "validacao", "validazione", "validierung", "验证", "驗證", "検証"),
    ),
    TEST: (
        *("test", "testing", "tst", "holdout", "hold-out"),
        *("prueba", "pruebas", "teste", "testes", "prova", "测试", "測試", "テスト"),
    ),
}  # fmt: skip
"""English, Spanish, Portuguese, French, Italian, German, Chinese, Japanese; without case and accents."""
_BESIDE = r"(set|sets|data|dataset|images?|imgs?|split|samples?|conjunto|dados|datos|集|データ)"
_APART = r"[ _.-]*"
_PIECE = re.compile(r"[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _bare(text: str) -> str:
    """Without case and accents; marks of other scripts are letters of theirs and stay."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", apart))


_ROLES = {_bare(word): role for role, words in _WORDS.items() for word in words}
_SPLIT_FOLDER = re.compile(
    rf"(\d+{_APART})?({_BESIDE}{_APART}((de|do|di|d){_APART})?)?(?P<word>{'|'.join(map(re.escape, _ROLES))})"
    rf"({_APART}{_BESIDE})?({_APART}\d+)?"
)


def split_of_word(word: str) -> str:
    """'train', 'val' or 'test' of a word of the table, in any case; '' of another one."""
    return _ROLES.get(_bare(word.strip()), "")


def split_of_folder(name: str) -> str:
    """As `split_of_word`, of a folder: Train, training_set, 01_train, TestData, val2017, conjunto_de_prueba."""
    found = _SPLIT_FOLDER.fullmatch(_bare(name))
    return _ROLES[found["word"]] if found else ""


def splits_within(name: str) -> set[str]:
    """Of which splits a name holds a word: train_pos, testB, BUSI-train, val (old)."""
    pieces = _PIECE.findall(_HUMP.sub(" ", name))
    return {split_of_word(piece) for piece in pieces} - {""}
