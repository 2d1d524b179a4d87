from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.deep_learning.sources import digit_strings
from benchmarks.deep_learning.sources import mnist
from benchmarks.deep_learning.sources import polarity
from benchmarks.deep_learning.sources import shakespeare
from benchmarks.deep_learning.sources import sms_spam
from benchmarks.deep_learning.sources import tagged
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


def test_posts_end_at_empty_lines() -> None:
    content = "We\tO\nlove\tO\nBerlin\tB-location\n\n\t\nYes\tO\n"
    posts = tagged.parse({"wnut17train.conll": content.encode()})
    assert posts == [(["We", "love", "Berlin"], ["O", "O", "B-location"]), (["Yes"], ["O"])]


def test_words_keep_their_ends() -> None:
    numbers = tagged.characters("Antidisestablishment!")
    assert len(numbers) == tagged.N_CHARACTERS
    assert "".join(chr(number + 30) for number in numbers) == "Antidihment!"
    assert tagged.characters("ß") == [1] + [0] * 11


def test_long_sentences_are_cut() -> None:
    long = (["word"] * 30 + ["Word"], ["O"] * 30 + ["B-group"])
    splits = tagged._splits(
        [long, (["other"], ["O"])], tagged.ENTITY_TAGS, np.array([1, 0]), [np.array([0, 1])] * 3
    )
    assert splits.strata is not None and splits.strata.tolist() == [1, 1, 0]
    assert splits.train.inputs.shape == (3, tagged.PIECE, 1 + tagged.N_CHARACTERS)
    last = 30 - tagged.PIECE
    assert splits.train.labels[1, : last + 2].tolist() == [0] * last + [5, tagged.NO_WORD]
    assert splits.train.inputs[1, last, 0] == splits.train.inputs[0, 0, 0] == 2
    assert splits.train.inputs[1, last, 1] != splits.train.inputs[0, 0, 1]  # the capital


def test_chunks_are_followed_by_themselves() -> None:
    part = shakespeare.cut_chunks(np.arange(1000), 5)
    assert (part.labels == part.inputs + 1).all()
    assert part.inputs[0, 0] == 0 and part.labels[-1, -1] == 999


def test_digits_are_pasted_from_left_to_right() -> None:
    rng = np.random.default_rng(0)
    digits = np.ones((10, 14, 14), dtype=np.float32)
    images, labels = digit_strings.draw_strings(digits, np.arange(10), 50, rng)
    lengths = (labels != digit_strings.NO_DIGIT).sum(1)
    assert set(lengths) == {2, 3, 4}
    ends = [int(np.flatnonzero(image[0].mean(0) > 0.5).max()) + 1 for image in images]
    assert all(10 * n + 4 <= end <= 14 * n for end, n in zip(ends, lengths, strict=True))
    assert (labels[:, 0] >= 0).all() and len(np.unique(labels)) == 11


@needs(tagged.ARCHIVE)
@needs(ud_english.ARCHIVE)
def test_the_real_tags() -> None:
    for load, n_tags in ((tagged.load_entities, 13), (tagged.load_parts_of_speech, 17)):
        splits = load()
        found = np.unique(splits.train.labels)
        assert found.tolist() == [tagged.NO_WORD, *range(n_tags)]
        assert splits.strata is not None and len(splits.strata) == len(splits.train)
        assert min(sizes(splits)) > 800


@needs(shakespeare.ARCHIVE)
def test_the_real_plays() -> None:
    splits = shakespeare.load_shakespeare()
    assert sizes(splits) == [3072, 1024, 1024]
    assert int(splits.train.inputs.max()) == shakespeare.N_CHARACTERS - 1


@needs(mnist.ARCHIVE)
def test_the_real_strings() -> None:
    splits = digit_strings.load_digit_strings()
    assert sizes(splits) == [3000, 1000, 1000]
    assert splits.strata is not None and np.unique(splits.strata).tolist() == [2, 3, 4]
