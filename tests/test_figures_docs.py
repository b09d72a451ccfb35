"""docs/figures.md says what the reports say."""

from monitoring.figures_page import PAGE, page


def test_the_page_is_what_the_reports_say() -> None:
    assert PAGE.read_text() == page(), "write it again: python -m monitoring.figures_page"
