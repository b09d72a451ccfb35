"""Names of a shop's products as plain text."""

import pytest

from serving.catalogue import facts_of, plain_text


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("Oak Desk Lamp", "Oak Desk Lamp"),
        ("<b>Lamp</b>", "Lamp"),
        ("Lamp<br/>with shade", "Lamp with shade"),
        ('<a href="x" title="5 &gt; 3">Lamp</a> &amp; Shade', "Lamp & Shade"),
        ("&lt;script&gt;alert(1)&lt;/script&gt; Lamp", "alert(1) Lamp"),
        ("Lamp <!-- new\n --> 2", "Lamp 2"),
        ("3 < 5 {brand} <1m>", "3 5 brand 1m"),
        ("L\u200bamp", "Lamp"),
        ("<br>", ""),
    ],
)
def test_a_name_becomes_plain_text(written: str, plain: str) -> None:
    assert plain_text(written) == plain


def test_other_columns_stay_as_the_shop_wrote_them() -> None:
    book = facts_of({"product_id": "p", "title": "<b>Lamp</b>", "brand": "A<b>", "category": "<i>Lamps</i>"})
    assert [(fact.name, fact.value) for fact in book.facts] == [("title", "Lamp"), ("brand", "A<b>"), ("category", "<i>Lamps</i>")]
