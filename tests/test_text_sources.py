from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.deep_learning.sources import polarity
from benchmarks.deep_learning.sources import sms_spam
from benchmarks.deep_learning.sources import ud_english
from benchmarks.deep_learning.sources import words
from benchmarks.deep_learning.sources.archives import DATA_VARIABLE
from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import is_offline
from benchmarks.deep_learning.sources.splits import Splits


CONLLU = """# newdoc id = {genre}-{number}
# sent_id = {genre}-{number}-0001
# text = He doesn't.
1\tHe\the\tPRON\t_
2-3\tdoesn't\t_\t_\t_
2\tdoes\tdo\tAUX\t_
3\tn't\tnot\tPART\t_
3.1\tgo\tgo\tVERB\t_

# sent_id = {genre}-{number}-0002
1\tYes\tyes\tINTJ\t_

"""


def needs(archive: Archive) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        DATA_VARIABLE not in os.environ or not is_offline(archive),
        reason=f"the data are not there: {DATA_VARIABLE} is to name their folder",
    )


def sizes(splits: Splits) -> list[int]:
    return [len(part) for part in (splits.train, splits.validation, splits.test)]


def test_frequent_words_have_low_numbers() -> None:
    texts = [["a", "b", "b"], ["b", "c", "a"], ["d"]]
    numbers = words.vocabulary(texts, size=4)
    assert numbers == {"b": 2, "a": 3}
    assert words.numbered(texts, numbers, 2).tolist() == [[3, 2], [2, 1], [1, 0]]
    assert words.split_words("Don't PAY 50 £!") == ["don't", "pay", "50", "£", "!"]


def test_a_message_is_kept_once() -> None:
    texts, labels = sms_spam.parse("ham\tHello you\nspam\tWIN now\nham\thello YOU\n")
    assert texts == [["hello", "you"], ["win", "now"]] and labels.tolist() == [0, 1]


def test_sentences_have_a_document_and_syntactic_words() -> None:
    content = CONLLU.format(genre="email", number=3).encode()
    first, second = ud_english.parse({"en_ewt-ud-dev.conllu": content})
    assert first.words == ("He", "does", "n't") and first.tags == ("PRON", "AUX", "PART")
    assert first.document == second.document == "email-3"
    assert ud_english.GENRES[first.genre] == "email"


def test_documents_stay_together() -> None:
    genres = ("email", "weblog")
    content = "".join(CONLLU.format(genre=genre, number=i) for genre in genres for i in range(10))
    sentences = ud_english.parse({"en_ewt-ud-test.conllu": content.encode()})
    parts = ud_english.document_cuts(sentences)
    assert [len(part) for part in parts] == [24, 8, 8]
    assert sorted(np.concatenate(parts)) == list(range(40))
    documents = [{sentences[row].document for row in part} for part in parts]
    assert sum(map(len, documents)) == 20
    assert all(sum(sentences[row].genre == 4 for row in part) * 2 == len(part) for part in parts)


@needs(sms_spam.ARCHIVE)
def test_the_real_messages() -> None:
    splits = sms_spam.load_sms_spam()
    assert sizes(splits) == [2557, 1300, 1300]
    assert 0.12 < float(splits.test.labels.double().mean()) < 0.13
    rows = [set(map(tuple, part.inputs.tolist())) for part in (splits.train, splits.test)]
    assert len(rows[0] & rows[1]) < 5  # but for what the vocabulary and the length leave out


@needs(polarity.ARCHIVE)
def test_the_real_polarity() -> None:
    splits = polarity.load_polarity()
    assert sizes(splits) == [5662, 2500, 2500]
    assert int(splits.train.inputs.max()) == words.MAX_VOCABULARY - 1
    assert float(splits.train.labels.double().mean()) == 0.5


@needs(ud_english.ARCHIVE)
def test_the_real_genres() -> None:
    splits = ud_english.load_web_genre()
    assert sizes(splits) == [2451, 813, 814]
    assert [len(np.unique(part.labels)) for part in (splits.train, splits.test)] == [5, 5]
