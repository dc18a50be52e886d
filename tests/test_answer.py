import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_trl.answer import (
    CORRECTION_TRIGGERS,
    completion_text,
    normalize_category,
    parse,
    render_answer,
    render_cot,
    render_prompt,
    render_reflective,
)
from aurora_trl.constants import SEG_TOKEN


PIECES = [
    "It is [SEG].",
    "[SEG]",
    "the target is ",
    "The Target  is the ",
    ".",
    "\n",
    '"',
    "“",
    "”",
    " ",
    "a ",
    "dog",
    "It ",
]
any_text = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
words = st.text(string.ascii_letters, min_size=1, max_size=8)
# "the", "a" and "an" would be read as articles.
category_names = st.lists(
    words.filter(lambda word: word.lower() not in {"the", "a", "an"}), min_size=1, max_size=3
).flatmap(lambda parts: st.sampled_from([" ", "-"]).map(lambda separator: separator.join(parts)))


@pytest.mark.parametrize(
    ("completion", "category"),
    [
        ("So the target is dog. It is [SEG].", "dog"),
        ("The target is the Emergency-Car. It is [SEG].", "Emergency-Car"),
        ("the target is a hair dryer, as it hums", "hair dryer"),
        ("the target is an elephant; it is big", "elephant"),
        ("the target is piano\nIt is [SEG].", "piano"),
        ('the target is "violin". It is [SEG].', "violin"),
        ("The target is “man” and the correct answer is “man”. It is [SEG].", "man"),
        ("the target is **cello**.", "cello"),
        ("the target is: cello.", "cello"),
        ("the target is the 'lion'", "lion"),
        # The last one counts: a reflective path names the wrong class first.
        ("the target is dog. Wait, let me re-evaluate. So the target is cat. It is [SEG].", "cat"),
        ("the target is cat. Wait. So the target is not the cat. It is [SEG].", "not the cat"),
        ("the target is ", None),
        ("the target is .", None),
        ("the target isolated", None),
        ("bathe target is dog", None),
        ("It is dog [SEG].", None),
        ("", None),
    ],
)
def test_parse_reads_the_category(completion, category):
    assert parse(completion).category == category


@pytest.mark.parametrize(
    "completion",
    [
        "It is [SEG].",
        "It is [SEG]",
        "  It is [SEG] . \n",
        "So the target is dog. It is [SEG].",
        "So the target is dog.\nIt  is\n[SEG].",
        "no full stop before a new line\nIt is [SEG]",
        'He said "dog." It is [SEG].',
        "Is it the dog? It is [SEG].",
        "It is [SEG]. It is [SEG].",
    ],
)
def test_the_final_sentence_is_it_is_seg(completion):
    assert parse(completion).is_well_formed


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "[SEG]",
        "[SEG].",
        "It is",
        "It is [seg].",
        "it is [SEG].",
        "It was [SEG].",
        "So It is [SEG].",
        "the target is dog, It is [SEG].",
        "It is [SEG]. The end.",
        "It is [SEG]..",
        "It is [SEG]!",
        "It is [SEG][SEG].",
        "It is dog [SEG].",
        "It is [SEG",
    ],
)
def test_the_final_sentence_is_something_else(completion):
    assert not parse(completion).is_well_formed


def test_parse_keeps_the_text_and_splits_the_reasoning_off():
    answer = parse(" A dog barks. So the target is dog.  It is [SEG]. ")
    assert answer.text == " A dog barks. So the target is dog.  It is [SEG]. "
    assert answer.reasoning == "A dog barks. So the target is dog."
    assert answer.has_seg
    assert parse("It is dog [SEG].").reasoning == ""
    assert parse("A dog barks.").reasoning == "A dog barks."
    assert not parse("A dog barks.").has_seg


@given(any_text)
def test_parse_accepts_any_text(text):
    answer = parse(text)
    assert answer.text == text
    assert answer.has_seg == (SEG_TOKEN in text)
    assert answer.has_seg or not answer.is_well_formed
    assert answer.category is None or answer.category.strip() == answer.category != ""
    assert text.strip().startswith(answer.reasoning)


@given(any_text)
def test_normalize_category_is_stable_but_for_articles(name):
    normal = normalize_category(name)
    assert normal == normal.strip()
    assert "-" not in normal
    assert normalize_category(f"the {normal}") == normal or not normal


@pytest.mark.parametrize(
    "text",
    [
        "the target is " * 7_000,
        "the target is\n" * 7_000,
        "the target is the" * 6_000,
        "the target is " + "*" * 100_000,
        "the target is" + " " * 100_000 + "x",
        "the target is the " + " " * 100_000 + ":",
        "the" + " " * 100_000,
        "It is [SEG]. " * 8_000,
        "It is " + "[SEG]" * 20_000,
        "It is " + " " * 100_000 + "x",
        "It is " + "a " * 50_000,
        "It " * 33_000,
        "." * 100_000 + "It is [SEG]",
        "\n" * 100_000 + "It is [SEG]",
        "-_ " * 33_000,
    ],
    ids=lambda text: text[:20],
)
def test_100_kb_are_read_in_no_time(text):
    start = time.perf_counter()
    parse(text)
    normalize_category(text)
    assert time.perf_counter() - start < 0.5


@given(st.text(string.ascii_letters + " ,", max_size=60), category_names)
def test_a_rendered_chain_of_thought_reads_back(reasoning, category):
    text = render_cot(reasoning, category)
    answer = parse(text)
    assert normalize_category(answer.category) == normalize_category(category)
    assert answer.is_well_formed
    assert text.count(SEG_TOKEN) == 1
    assert answer.reasoning == f"{reasoning.strip()} So the target is {category}.".strip()


@given(category_names, category_names, st.sampled_from(CORRECTION_TRIGGERS))
def test_a_reflective_path_names_the_corrected_class_and_asks_for_one_mask(wrong, correct, trigger):
    text = render_reflective(render_cot("I hear it.", wrong), trigger, render_cot("I see it.", correct))
    assert text == (
        f"I hear it. So the target is {wrong}. {trigger} I see it. So the target is {correct}. It is [SEG]."
    )
    assert parse(text).category.lower() == correct.lower()
    assert parse(text).is_well_formed


def test_a_reflective_path_must_end_in_the_closing_sentence():
    with pytest.raises(ValueError, match="must end in"):
        render_reflective("the target is dog. It is [SEG].", CORRECTION_TRIGGERS[0], "the target is cat.")


@given(category_names)
def test_the_teacher_answers(category):
    assert render_answer() == "It is [SEG]."
    assert parse(render_answer()).is_well_formed
    assert render_answer(category) == f"It is {category} [SEG]."
    assert not parse(render_answer(category)).is_well_formed


@pytest.mark.parametrize("category", ["", "  ", "St. Bernard", "dog, cat", "dog\ncat"])
def test_a_category_that_could_not_be_read_back_is_refused(category):
    with pytest.raises(ValueError, match="can't be read back"):
        render_cot("A dog barks.", category)


def test_render_prompt():
    user = {
        "role": "user",
        "content": "The reference is: The loud dog. Please segment the corresponding object in the images.",
    }
    assert render_prompt("The loud dog.") == [user]
    assert render_prompt(" The loud dog. ", "Be brief.") == [{"role": "system", "content": "Be brief."}, user]
    assert "{x}" in render_prompt("The {x}")[0]["content"]
    with pytest.raises(ValueError, match="needs a reference"):
        render_prompt(" ")


def test_normalize_category():
    forms = ["The Hair-Dryer", "hair dryer", "hair_dryer", " HAIR  DRYER ", "'a hair-dryer'"]
    assert {normalize_category(form) for form in forms} == {"hair dryer"}
    assert normalize_category("theremin") == "theremin"
    assert normalize_category("dog") != normalize_category("puppy")


def test_completion_text():
    assert completion_text("It is [SEG].") == "It is [SEG]."
    assert completion_text([{"role": "assistant", "content": "It is [SEG]."}]) == "It is [SEG]."
    blocks = [{"type": "text", "text": "It is "}, {"type": "image"}, {"type": "text", "text": "[SEG]."}]
    assert completion_text([{"role": "assistant", "content": blocks}]) == "It is [SEG]."
    turns = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}]
    assert completion_text(turns) == "a"
    assert completion_text([{"role": "assistant", "content": None}]) == ""
    assert completion_text([]) == ""
    with pytest.raises(ValueError, match="string or a list of messages"):
        completion_text(3)
